//! Functions that somebody keeps elsewhere, and that are called by name.

use async_trait::async_trait;

use crate::fault::Fault;

/// A place whose functions can be called.
#[async_trait]
pub trait Functions: Send + Sync {
    /// The place, for people, for example a region.
    fn place(&self) -> &str;

    /// The most bytes that a payload may have.
    fn payload_cap(&self) -> u64;

    /// Fails where no call of the function `name` can succeed, as far as that can be told without calling it: wrong
    /// credentials, a name that belongs elsewhere.
    async fn check(&self, name: &str) -> Result<(), Fault>;

    /// Calls the function `name` with a payload, waits until it ends, and gives its reply.
    ///
    /// The function runs once at most. A call that may have arrived is never repeated; its fault says so. A failure of
    /// the function itself is a fault, too.
    async fn call(&self, name: &str, payload: Vec<u8>) -> Result<Vec<u8>, Fault>;
}
