//! Handlers by operation, and the access check. It knows no HTTP: the transport hands in the pieces of a request and
//! gets back a status and bytes.
//!
//! A room registers a plain `async fn(Ctx, Request) -> Result<Response>`; the request's own type supplies name,
//! path, access and wire format. Access is checked here, from the table, before the body is read.

use std::future::Future;

use bytes::Bytes;
use shared::op::{Access, Info, Operation};
use shared::problem::Code;
use shared::wire::{self, Parts};

use crate::app::Ctx;
use crate::caller::Caller;
use crate::db::BoxFuture;
use crate::error::{Error, Result};

/// A successful answer: an HTTP status and JSON.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

type Handler = Box<dyn for<'a> Fn(Ctx, Parts<'a>) -> Called + Send + Sync>;

/// What calling a handler gives at once: the request is decoded while its pieces are still borrowed.
enum Called {
    Ready(Result<Reply>),
    Running(BoxFuture<'static, Result<Reply>>),
}

/// Refuses who may not call this operation, whatever the request says.
pub fn authorize(info: &Info, caller: &Caller) -> Result<()> {
    match info.access {
        Access::Permission(permission) if caller.can(permission) => Ok(()),
        Access::Permission(_) | Access::User | Access::Known if *caller == Caller::Anonymous => {
            Err(Error::new(Code::Unauthenticated, "this needs credentials: Authorization: Bearer <token>"))
        }
        Access::User if matches!(caller, Caller::User { .. }) => Ok(()),
        Access::User => {
            Err(Error::new(Code::Forbidden, format!("{caller} is not a person; sign in with POST /auth/login")))
        }
        Access::Known if matches!(caller, Caller::Device { .. }) => {
            Err(Error::new(Code::Forbidden, "a device's session is for AWS credentials, and nothing else"))
        }
        Access::Public | Access::Proof | Access::Known => Ok(()),
        Access::Permission(permission) => {
            let name = permission.as_str();
            Err(Error::new(Code::Forbidden, format!("{caller} does not hold the permission {name}")))
        }
    }
}

/// An operation with its handler.
pub struct Route {
    pub info: &'static Info,
    handler: Handler,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.info.name)
    }
}

impl Route {
    /// Decodes and runs. The caller must have been authorized.
    pub async fn call(&self, ctx: Ctx, parts: Parts<'_>) -> Result<Reply> {
        match (self.handler)(ctx, parts) {
            Called::Ready(reply) => reply,
            Called::Running(future) => future.await,
        }
    }
}

/// Every operation that this daemon serves.
#[derive(Debug, Default)]
pub struct Registry {
    routes: Vec<Route>,
}

impl Registry {
    /// Registers the handler of an operation.
    pub fn add<Op, F, Fut>(&mut self, handler: F)
    where
        Op: Operation,
        F: Fn(Ctx, Op) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Result<Op::Response>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |ctx, parts| match wire::decode::<Op>(parts) {
            Err(error) => Called::Ready(Err(error.into())),
            Ok(op) => {
                let running = handler(ctx, op);
                Called::Running(Box::pin(async move {
                    let response = running.await?;
                    let body = serde_json::to_vec(&response).map_err(Error::internal)?.into();
                    Ok(Reply { status: Op::status(&response), body })
                }))
            }
        });
        self.routes.push(Route { info: &Op::INFO, handler });
    }

    /// Registers the handler of a hot operation: `direct` answers at once what it can, without a future of its own,
    /// and both write their JSON themselves.
    pub fn add_direct<Op, D, F, Fut>(&mut self, direct: D, handler: F)
    where
        Op: Operation,
        D: Fn(&Ctx, &Op) -> Option<Reply> + Send + Sync + Copy + 'static,
        F: Fn(Ctx, Op) -> Fut + Send + Sync + Copy + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |ctx, parts| match wire::decode::<Op>(parts) {
            Err(error) => Called::Ready(Err(error.into())),
            Ok(op) => match direct(&ctx, &op) {
                Some(reply) => Called::Ready(Ok(reply)),
                None => Called::Running(Box::pin(handler(ctx, op))),
            },
        });
        self.routes.push(Route { info: &Op::INFO, handler });
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of an operation by its name, for tests.
    pub fn find(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.info.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    #[test]
    fn every_operation_has_exactly_one_handler() {
        let mut handlers: BTreeMap<&str, u32> = shared::api::operations().map(|info| (info.name, 0)).collect();
        for route in crate::registry().routes() {
            *handlers.get_mut(route.info.name).expect("a handler's operation is in the table") += 1;
        }
        for (name, count) in handlers {
            assert_eq!(count, 1, "{name} has {count} handlers");
        }
    }
}
