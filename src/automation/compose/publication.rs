//! Where releases are published: the index with its credentials, and the host with its login.

use std::path::PathBuf;

use index::{Credentials, HttpIndex, IndexSettings, Limits, netrc};
use model::fault::Fault;
use model::machine::{Machine, Platform};
use model::release::PackageIndex;

use crate::compose::{Context, host, person};

/// The variable with a token for an index.
const TOKEN: &str = "AUTOMATION_INDEX_TOKEN";

/// The variables in which people have a user and a password for an index already.
const TWINE: [&str; 2] = ["TWINE_USERNAME", "TWINE_PASSWORD"];

/// Where an index takes files by default.
pub use index::REPOSITORY;

impl Context {
    /// The index that takes files at `repository` and lists them at `listing`, with the credentials that the variables have
    /// for it, or else the user's netrc.
    pub fn package_index(&self, repository: &str, listing: Option<&str>) -> Result<Box<dyn PackageIndex>, Fault> {
        let credentials = match of_variables()? {
            Some(credentials) => Some(credentials),
            None => match (index::host_of(repository)?, netrc_path(&self.sites.home)) {
                (host, Some(path)) => netrc::read(&path, &host)?,
                (_, None) => None,
            },
        };
        let (repository, listing) = (repository.to_owned(), listing.map(str::to_owned));
        Ok(Box::new(HttpIndex::new(IndexSettings { repository, listing, credentials, limits: Limits::default() })?))
    }

    /// The machine that `[USER@]HOST[:PORT]` names, for `user` where one is given beside it, and else for the person who
    /// runs the command.
    pub fn release_host(&self, target: &str, user: Option<&str>) -> Result<Machine, Fault> {
        let target = match (target.rsplit_once('@'), user) {
            (Some((own, _)), Some(user)) if own != user => {
                return Err(Fault::usage(format!(
                    "`--host` names the user `{own}`, and `--ssh-username` names `{user}`"
                ))
                .hint("Leave one of the two out."));
            }
            (Some(_), _) => target.to_owned(),
            (None, Some(user)) => format!("{user}@{target}"),
            (None, None) => {
                let user = person().ok_or_else(|| {
                    Fault::usage(format!("cannot tell who logs in at `{target}`"))
                        .hint("Say it with `--ssh-username NAME`.")
                })?;
                format!("{user}@{target}")
            }
        };
        host::machine(
            &target,
            Platform::default(),
            self.sites.globals.identity.as_deref(),
            &self.sites.home,
            &self.owner,
        )
    }
}

/// The credentials that variables hold; an empty variable counts as none.
fn of_variables() -> Result<Option<Credentials>, Fault> {
    if let Some(token) = secret(TOKEN)? {
        return Ok(Some(Credentials::token(&token)));
    }
    let [user, password] = TWINE;
    Ok(match (secret(user)?, secret(password)?) {
        (Some(user), Some(password)) => Some(Credentials::login(&user, &password)),
        (None, Some(password)) => Some(Credentials::token(&password)),
        (_, None) => None,
    })
}

/// The value of a variable, which no message repeats.
fn secret(name: &str) -> Result<Option<String>, Fault> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) if value.chars().any(char::is_control) => {
            Err(Fault::usage(format!("`{name}` holds a control character or more than one line")))
        }
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Fault::usage(format!("`{name}` is not UTF-8"))),
    }
}

/// The user's file of passwords by host.
fn netrc_path(home: &std::path::Path) -> Option<PathBuf> {
    match std::env::var_os("NETRC").filter(|path| !path.is_empty()) {
        Some(path) => Some(path.into()),
        None => home.is_absolute().then(|| home.join(".netrc")),
    }
}
