//! The machine contract: what a machine that somebody else made must be like. It is the tool's, whatever is run there.

use crate::check::Check;
use crate::fault::Fault;
use crate::runner::Part;
use crate::task::Stepped;

/// How a machine is held against the contract, as data; the flow does it. Paths of parts are `folder/NAME`.
pub trait Contract: Send + Sync {
    /// The files that the check needs on the machine.
    fn parts(&self) -> Vec<Part>;

    /// Prints one line a clause.
    fn check(&self, folder: &str) -> Stepped;

    /// Reads what [`Contract::check`] printed; a line that cannot be read is an error.
    fn read(&self, printed: &[u8]) -> Result<Vec<Check>, Fault>;
}
