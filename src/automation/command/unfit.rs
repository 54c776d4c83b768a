//! Options that have no meaning for machines of the providers that were asked for.

use model::fault::Fault;
use model::machine::ProviderKind;

/// Refuses options that have no meaning for machines of any of these providers, which `fits` tells.
pub(crate) fn refuse_options(
    given: &[(&str, bool)],
    kinds: &[ProviderKind],
    fits: impl Fn(ProviderKind) -> bool,
) -> Result<(), Fault> {
    let (Some(kind), Some((flag, _))) = (kinds.first(), given.iter().find(|(_, given)| *given)) else { return Ok(()) };
    if kinds.iter().any(|kind| fits(*kind)) {
        return Ok(());
    }
    let message = match kind {
        ProviderKind::Host => format!("`{flag}` has no meaning on a machine that is there already"),
        kind => format!("`{flag}` has no meaning with provider `{}`", kind.name()),
    };
    Err(Fault::usage(message).hint(format!("Leave `{flag}` out, or name another provider.")))
}

/// Refuses `--wait` where nobody else could be waited for.
pub(crate) fn refuse_wait(is_given: bool, kinds: &[ProviderKind]) -> Result<(), Fault> {
    if !is_given || kinds.contains(&ProviderKind::Host) {
        return Ok(());
    }
    let message =
        "`--wait` is for a machine of somebody else's (`--host`): a machine of its own is used by nobody else";
    Err(Fault::usage(message).hint("Leave it out."))
}
