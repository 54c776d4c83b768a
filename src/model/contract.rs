//! The machine contract: the requirements on a machine that somebody else made. They are the tool's own, whatever is
//! run there.

use crate::check::Check;
use crate::fault::Fault;
use crate::runner::Part;
use crate::task::Stepped;

/// The check of a machine against the contract, as data; the flow runs it. Paths of parts are `folder/NAME`.
pub trait Contract: Send + Sync {
    /// The files that the check needs on the machine.
    fn parts(&self) -> Vec<Part>;

    /// The command that checks; it prints one line per clause.
    fn check(&self, folder: &str) -> Stepped;

    /// Reads what [`Contract::check`] printed; a line that cannot be read is an error.
    fn read(&self, printed: &[u8]) -> Result<Vec<Check>, Fault>;
}
