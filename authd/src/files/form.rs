//! The token of a form, which a browser sends before the files.

use shared::problem::Code;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use super::multipart::Part;
use crate::error::{Error, Result};

/// The form's field of the token.
const FIELD: &str = "form_token";

/// The token that a form has to send before its files.
#[derive(Debug)]
pub(super) struct FormToken {
    expected: Secret,
    /// What has arrived of the field, if it is this field that arrives; never longer than the token and one byte.
    sent: Option<Vec<u8>>,
    is_accepted: bool,
}

impl FormToken {
    pub fn new(expected: Secret) -> Self {
        Self { expected, sent: None, is_accepted: false }
    }

    /// Refuses a file that comes before the token.
    pub fn begin_part(&mut self, part: &Part) -> Result<()> {
        if part.file_name.is_some() && !self.is_accepted {
            let detail = "the form was not sent by a page of authd, or it was too old; try again";
            return Err(Error::new(Code::Forbidden, detail));
        }
        self.sent = (part.name == FIELD && part.file_name.is_none()).then(Vec::new);
        Ok(())
    }

    pub fn take(&mut self, data: &[u8]) {
        if let Some(sent) = &mut self.sent {
            let room = self.expected.expose().len() + 1 - sent.len();
            sent.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    pub fn end_part(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.is_accepted = self.expected.expose().as_bytes().ct_eq(&sent).into();
        }
    }
}
