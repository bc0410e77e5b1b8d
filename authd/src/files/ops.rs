//! The operations on files, and the reading of their content.

use serde_json::json;
use shared::api::Done;
use shared::api::files::{DeleteFile, FileList, ListFiles};
use shared::id::{FileId, UserId};
use shared::op::{Operation, Permission};
use shared::problem::Code;

use super::{Content, Files, Stored, Usage, store};
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::page::Page;

impl Files {
    pub async fn list(&self, call: Call, op: ListFiles) -> Result<FileList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let own = match call.caller {
            Caller::User { id, .. } => Some(id),
            _ => None,
        };
        let user = match &op.user {
            Some(user) => {
                // Whether there is such a user is not told to everybody.
                let found = self.users.find_id(user).await?;
                if found.is_none() || found != own {
                    require_read(&call)?;
                }
                Some(found.ok_or_else(|| Error::not_found("user"))?)
            }
            None => own.filter(|_| !op.all),
        };
        if user.is_none() {
            if !op.all && own.is_none() && !call.caller.can(Permission::FilesRead) {
                // Only people have files.
                return Ok(FileList { files: Vec::new(), next_cursor: None });
            }
            require_read(&call)?;
        }
        let (files, next_cursor) = store::list(self.base.db.as_ref(), user, &page).await?;
        Ok(FileList { files: files.into_iter().map(|file| self.view(file)).collect(), next_cursor })
    }

    /// What the files of a person take.
    pub async fn usage(&self, user: UserId) -> Result<Usage> {
        store::used(self.base.db.as_ref(), user).await
    }

    pub async fn delete(&self, call: Call, op: DeleteFile) -> Result<Done> {
        let (file, requires) = self.find_for(&call, op.key, Permission::FilesWrite).await?;
        let change = Change::new(DeleteFile::INFO.name, file.key)
            .with(store::delete(&file, self.base.now()))
            .requires(requires)
            .detail([("user", Some(json!(file.user_id))), ("size", Some(json!(file.size)))]);
        match self.base.ledger.commit(&call, change).await {
            Ok(_) => {
                self.left.notify_one();
                Ok(Done::default())
            }
            Err(Refused::ExpectationFailed(store::DELETE)) => Err(not_found()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// A file that the caller may read.
    pub async fn find(&self, call: &Call, key: FileId) -> Result<Stored> {
        Ok(self.find_for(call, key, Permission::FilesRead).await?.0)
    }

    /// Reads `length` bytes of a file from `first` on.
    pub async fn read(&self, file: &Stored, first: u64, length: u64) -> Result<Content> {
        self.objects.read(&file.key.to_string(), first, length).await.map_err(|error| match error.code {
            // It was deleted since it was found, or somebody else removed it.
            Code::NotFound => Error { source: error.source, ..not_found() },
            _ => error,
        })
    }

    /// A file of the caller's own; of another with this permission, which is returned then. Whoever has neither does not
    /// learn whether there is such a file.
    pub(super) async fn find_for(
        &self,
        call: &Call,
        key: FileId,
        permission: Permission,
    ) -> Result<(Stored, Option<Permission>)> {
        let file = store::find(self.base.db.as_ref(), key).await?.ok_or_else(not_found)?;
        if is_owner(call, file.user_id) {
            return Ok((file, None));
        }
        if call.caller.can(permission) { Ok((file, Some(permission))) } else { Err(not_found()) }
    }
}

fn is_owner(call: &Call, user: UserId) -> bool {
    matches!(call.caller, Caller::User { id, .. } if id == user)
}

fn require_read(call: &Call) -> Result<()> {
    if call.caller.can(Permission::FilesRead) {
        return Ok(());
    }
    let name = Permission::FilesRead.as_str();
    Err(Error::new(Code::Forbidden, format!("{} does not hold the permission {name}", call.caller)))
}

pub(super) fn not_found() -> Error {
    Error::not_found("file")
}
