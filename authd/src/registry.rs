//! Handlers by operation, and the access check. It does not depend on HTTP: the transport passes the parts of a request
//! and gets a status and bytes, or passes the request's struct and gets the view (gRPC).
//!
//! A module registers its methods `async fn(&self, Call, Request) -> Result<Response>`; the request's type determines
//! name, path, access and wire format. Access is checked here, from the table, before the body is read.

use std::any::Any;
use std::borrow::Borrow;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use shared::op::{Access, Info, Operation};
use shared::problem::Code;
use shared::wire::{self, Parts};

use crate::base::Detached;
use crate::call::Call;
use crate::caller::Caller;
use crate::db::BoxFuture;
use crate::error::{Error, Result};

/// The usual maximum of answers, in bytes.
const USUAL_BODY: usize = 256;

/// A successful answer: an HTTP status and JSON.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl Reply {
    fn new<View: Serialize>(status: u16, view: &View) -> Result<Self> {
        let mut body = Vec::with_capacity(USUAL_BODY);
        serde_json::to_writer(&mut body, view).map_err(Error::internal)?;
        Ok(Self { status, body: body.into() })
    }
}

/// A handler: a method `async fn(&self, Call, Op) -> Result<View>` of a module.
pub trait Handler<'a, Module, Op, View>: Copy + Send + Sync + 'static {
    type Future: Future<Output = Result<View>> + Send + 'a;

    fn call(self, module: &'a Module, call: Call, op: Op) -> Self::Future;
}

impl<'a, Module: 'a, Op, View, F, Fut> Handler<'a, Module, Op, View> for F
where
    F: Fn(&'a Module, Call, Op) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<View>> + Send + 'a,
{
    type Future = Fut;

    fn call(self, module: &'a Module, call: Call, op: Op) -> Fut {
        self(module, call, op)
    }
}

/// A module with operations that run to their end when their clients disconnect.
pub trait Outliving: Send + Sync + 'static {
    fn detached(&self) -> &Detached;
}

/// A handler that runs to its end when its client disconnects: what was counted or sent must be judged and recorded.
#[derive(Clone, Copy)]
struct ToEnd<H>(H);

impl<'a, Module, Op, View, H> Handler<'a, Arc<Module>, Op, View> for ToEnd<H>
where
    Module: Outliving,
    Op: Send + 'static,
    View: Send + 'static,
    H: for<'b> Handler<'b, Module, Op, View>,
{
    type Future = BoxFuture<'a, Result<View>>;

    fn call(self, module: &'a Arc<Module>, call: Call, op: Op) -> Self::Future {
        let owner = module.clone();
        Box::pin(module.detached().run(async move { self.0.call(&owner, call, op).await }))
    }
}

/// The immediate result of calling a handler: the request is decoded while its parts are still borrowed.
#[expect(missing_debug_implementations, reason = "a future has none")]
pub enum Called<'a, T> {
    Ready(T),
    Running(BoxFuture<'a, Result<T>>),
}

/// A handler with its module, with erased types.
trait Bound: Send + Sync {
    fn call<'a>(&'a self, call: Call, parts: Parts<'_>) -> Result<Called<'a, Reply>>;
}

/// A handler with its module, by the types of the operation and of the view that it returns.
pub trait Typed<Op, View>: Send + Sync {
    fn call(&self, call: Call, op: Op) -> Result<Called<'_, View>>;
}

struct Handling<Module, Op, View, Now, Status, H> {
    module: Arc<Module>,
    now: Now,
    status: Status,
    handler: H,
    types: PhantomData<fn(Op) -> View>,
}

impl<Module, Op, View, Now, Status, H> Bound for Handling<Module, Op, View, Now, Status, H>
where
    Module: Send + Sync + 'static,
    Op: Operation,
    View: Serialize + 'static,
    Now: Fn(&Module, &Call, &Op) -> Option<Result<View>> + Send + Sync,
    Status: Fn(&View) -> u16 + Send + Sync,
    H: for<'a> Handler<'a, Module, Op, View>,
{
    fn call<'a>(&'a self, call: Call, parts: Parts<'_>) -> Result<Called<'a, Reply>> {
        let op = wire::decode::<Op>(parts)?;
        let reply = |view: &View| Reply::new((self.status)(view), view);
        if let Some(view) = (self.now)(&self.module, &call, &op) {
            return Ok(Called::Ready(reply(&view?)?));
        }
        let running = self.handler.call(&self.module, call, op);
        Ok(Called::Running(Box::pin(async move { reply(&running.await?) })))
    }
}

impl<Module, Op, View, Now, Status, H> Typed<Op, View> for Handling<Module, Op, View, Now, Status, H>
where
    Module: Send + Sync + 'static,
    Op: Operation,
    View: 'static,
    Now: Fn(&Module, &Call, &Op) -> Option<Result<View>> + Send + Sync,
    Status: Send + Sync,
    H: for<'a> Handler<'a, Module, Op, View>,
{
    fn call(&self, call: Call, op: Op) -> Result<Called<'_, View>> {
        match (self.now)(&self.module, &call, &op) {
            Some(view) => Ok(Called::Ready(view?)),
            None => Ok(Called::Running(Box::pin(self.handler.call(&self.module, call, op)))),
        }
    }
}

/// Refuses callers who may not call this operation, independently of the request.
pub fn authorize(info: &Info, caller: &Caller) -> Result<()> {
    match info.access {
        Access::Permission(permission) if caller.can(permission) => Ok(()),
        Access::Permission(_) | Access::User | Access::Authenticated if *caller == Caller::Anonymous => {
            Err(Error::new(Code::Unauthenticated, "this needs credentials: Authorization: Bearer <token>"))
        }
        Access::User if matches!(caller, Caller::User { .. }) => Ok(()),
        Access::User => {
            Err(Error::new(Code::Forbidden, format!("{caller} is not a person; sign in with POST /auth/login")))
        }
        Access::Authenticated if matches!(caller, Caller::Device { .. }) => {
            Err(Error::new(Code::Forbidden, "a device's session is only for AWS credentials"))
        }
        Access::Public | Access::SelfProving | Access::Authenticated => Ok(()),
        Access::Permission(permission) => {
            let name = permission.as_str();
            Err(Error::new(Code::Forbidden, format!("{caller} does not hold the permission {name}")))
        }
    }
}

/// An operation with its handler.
pub struct Route {
    pub info: &'static Info,
    handler: Arc<dyn Bound>,
    /// The same as an `Arc<dyn Typed<Op, View>>`.
    typed: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.info.name)
    }
}

impl Route {
    /// Decodes the request and runs the handler. The caller must have been authorized.
    pub async fn call(&self, call: Call, parts: Parts<'_>) -> Result<Reply> {
        match self.handler.call(call, parts)? {
            Called::Ready(reply) => Ok(reply),
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
    /// Registers the handler of an operation. It returns the response, or a view with it and more for another encoding.
    pub fn add<Module, Op, View, H>(&mut self, module: &Arc<Module>, handler: H)
    where
        Module: Send + Sync + 'static,
        Op: Operation,
        View: Borrow<Op::Response> + Serialize + 'static,
        H: for<'a> Handler<'a, Module, Op, View>,
    {
        let now = |_: &Module, _: &Call, _: &Op| None;
        let status = |view: &View| Op::status(view.borrow());
        let types = PhantomData::<fn(Op) -> View>;
        self.push(Handling { module: module.clone(), now, status, handler, types });
    }

    /// Registers the handler of an operation that runs to its end when its client disconnects.
    pub fn add_to_end<Module, Op, View, H>(&mut self, module: &Arc<Module>, handler: H)
    where
        Module: Outliving,
        Op: Operation,
        View: Borrow<Op::Response> + Serialize + Send + 'static,
        H: for<'a> Handler<'a, Module, Op, View>,
    {
        self.add(&Arc::new(module.clone()), ToEnd(handler));
    }

    /// Registers the handler of a hot operation: `now` answers without a future if it can. Both return a view of cached
    /// data, which has the JSON of the operation's response, with 200.
    pub fn add_hot<Module, Op, View, Now, H>(&mut self, module: &Arc<Module>, now: Now, handler: H)
    where
        Module: Send + Sync + 'static,
        Op: Operation,
        View: Serialize + 'static,
        Now: Fn(&Module, &Call, &Op) -> Option<Result<View>> + Send + Sync + 'static,
        H: for<'a> Handler<'a, Module, Op, View>,
    {
        let types = PhantomData::<fn(Op) -> View>;
        self.push(Handling { module: module.clone(), now, status: |_: &View| 200, handler, types });
    }

    fn push<Module, Op, View, Now, Status, H>(&mut self, handling: Handling<Module, Op, View, Now, Status, H>)
    where
        Op: Operation,
        View: 'static,
        Handling<Module, Op, View, Now, Status, H>: Bound + Typed<Op, View> + 'static,
    {
        let handling = Arc::new(handling);
        let typed: Arc<dyn Typed<Op, View>> = handling.clone();
        self.routes.push(Route { info: &Op::INFO, handler: handling, typed: Box::new(typed) });
    }

    /// The position and the handler of an operation, if it is registered and returns this view.
    pub fn typed<Op: Operation, View: 'static>(&self) -> Option<(usize, Arc<dyn Typed<Op, View>>)> {
        let position = self.routes.iter().position(|route| route.info.name == Op::INFO.name)?;
        let typed: &Arc<dyn Typed<Op, View>> = self.routes[position].typed.downcast_ref()?;
        Some((position, typed.clone()))
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of an operation by its name.
    #[cfg(test)]
    pub fn find(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.info.name == name)
    }
}
