//! Replaces `ec2` in a tool that was built without it: the same names, and a fault where a record names EC2.

mod adapters;

use model::fault::Fault;
use model::setting::Section;

/// Nobody can choose it.
pub(super) const IS_BUILT_IN: bool = false;

/// The settings file has no section for it.
pub(super) const SETTINGS: Option<Section> = None;

/// No setting of it is decided by a variable.
pub(super) const VARIABLES: &[(&str, &str)] = &[];

/// Holds nothing: there is nothing to open.
#[derive(Clone, Default)]
pub(super) struct Ec2Clients {}

/// Accepts all variables: none has a meaning here.
pub(super) fn check_variables() -> Result<(), Fault> {
    Ok(())
}
