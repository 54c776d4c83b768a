//! The variables of the environment, checked before they are used: a variable with a wrong value must not pass for one
//! that is not set, and the error must say that the value came from a variable.

use model::base::text;
use model::fault::Fault;
use model::machine::ProviderKind;

use crate::compose::{ec2, providers};
use crate::globals::Globals;
use crate::ui::{self, Surroundings};

/// The longest name of an owner, bytes: with the computer's it must fit into a tag.
const OWNER_CAP: usize = 128;

/// Refuses values that make no sense.
pub fn check(globals: &Globals) -> Result<(), Fault> {
    if let Some(name) = &globals.provider {
        provider(name, globals.provider_source())?;
    }
    for variable in OWNERS {
        if let Some(value) = std::env::var_os(variable) {
            let fit = |name: &str| name.len() <= OWNER_CAP && !name.chars().any(char::is_control);
            if !value.to_str().is_some_and(fit) {
                return Err(Fault::usage(format!(
                    "`{variable}` does not hold the name of a user: `{}`",
                    value.to_string_lossy()
                ))
                .hint(format!("Set it to your name, or `unset {variable}`.")));
            }
        }
    }
    ec2::check_variables()
}

/// The value of a variable.
pub fn value(name: &std::ffi::OsStr) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The variables that name the user, in order of precedence.
const OWNERS: [&str; 2] = ["LOGNAME", "USER"];

/// The user's name, as far as the environment has one.
pub fn user() -> Option<String> {
    OWNERS.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The kind of the terminal that this process was started on.
pub fn terminal() -> Option<String> {
    std::env::var("TERM").ok().filter(|kind| !kind.is_empty())
}

/// The variables that name the user's language and characters, in order of precedence (POSIX, 8.2).
const LOCALES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// What the environment and the streams say of where messages go.
pub fn surroundings() -> Surroundings {
    let [stdout, stderr] = ui::terminals();
    let kind = terminal();
    let locale = LOCALES.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    Surroundings {
        stdout,
        stderr,
        capable: kind.as_deref().is_some_and(|kind| kind != "dumb"),
        unicode: has_unicode(kind.as_deref(), locale.as_deref()),
        automated: is_automated(),
        color_forced: anstyle_query::clicolor_force(),
        color_refused: anstyle_query::no_color() || anstyle_query::clicolor() == Some(false),
    }
}

/// Whether `CI` says that nobody is there, and that what runs here ends with its job.
pub fn is_automated() -> bool {
    std::env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// Whether a terminal of this kind shows signs beyond ASCII: the kernel's own has few of them, and who names a locale without UTF-8
/// does so for a reason.
fn has_unicode(kind: Option<&str>, locale: Option<&str>) -> bool {
    let locale = locale.map(str::to_ascii_lowercase);
    kind != Some("linux") && locale.is_none_or(|locale| locale.contains("utf-8") || locale.contains("utf8"))
}

/// The socket of the user's SSH agent.
pub fn agent() -> Option<std::path::PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(Into::into)
}

/// Refuses a provider that does not exist; `from` is the option or variable that named it.
fn provider(name: &str, from: &str) -> Result<(), Fault> {
    let known: Vec<&str> = providers().map(ProviderKind::name).collect();
    if known.contains(&name) {
        return Ok(());
    }
    let message = format!("`{from}` names a provider that does not exist: `{name}` (there are: {})", known.join(", "));
    let fault = Fault::usage(message);
    Err(match text::nearest(name, known) {
        Some(near) => fault.hint(format!("Did you mean `{near}`?")),
        None if from.starts_with('-') => fault.hint("Leave it out for the settings' `provider`, or `local`."),
        None => fault.hint(format!("`unset {from}`, or name another with `--provider`.")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_ascii_where_others_would_not_be_shown() {
        assert!(
            has_unicode(Some("xterm"), None)
                && has_unicode(None, Some("C.UTF-8"))
                && has_unicode(None, Some("de_DE.utf8"))
        );
        for (kind, locale) in [(Some("linux"), Some("C.UTF-8")), (None, Some("C")), (None, Some("de_DE.ISO-8859-1"))] {
            assert!(!has_unicode(kind, locale), "{kind:?} {locale:?}");
        }
    }

    #[test]
    fn who_named_a_provider_is_told() {
        assert!(provider("local", "--provider").is_ok());
        let fault = provider("xx", "AUTOMATION_PROVIDER").unwrap_err();
        assert!(
            fault.message.starts_with("`AUTOMATION_PROVIDER` names a provider that does not exist: `xx` (there are:")
        );
        assert!(fault.hint.unwrap().contains("unset AUTOMATION_PROVIDER"));
        assert_eq!(provider("lokal", "--provider").unwrap_err().hint.as_deref(), Some("Did you mean `local`?"));
        assert!(provider("", "--provider").is_err());
    }
}
