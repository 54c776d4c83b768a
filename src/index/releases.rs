//! Where releases of the tool itself are: at an address, or in a folder. What is asked there is one small file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::deadline::Deadline;
use model::fault::Fault;
use model::upgrade::{LATEST, NewestRelease};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, Url};
use tokio::io::AsyncReadExt;

use crate::{address, answer, client_builder};

/// Most bytes of the file: fifty times what one with ten files of a release has.
const CAP: usize = 64 << 10;

/// Most redirects that are followed; a host of releases needs two.
const REDIRECTS: usize = 5;

/// How long the place may take to answer with the file: a person waits for it.
pub const RELEASES_LIMIT: Duration = Duration::from_secs(30);

/// A place with releases of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleasePlace {
    /// A folder of this computer.
    Folder(PathBuf),
    /// An address, with a slash at its end.
    Address(Url),
}

impl ReleasePlace {
    /// Reads a place that was given by `origin`: `https://…`, `http://…` of this computer, `file:///…`, or a path.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Fault> {
        let fault = |why: &str| {
            Fault::usage(format!("`{origin}` does not say where releases are: {why}"))
                .hint("Write it as `https://releases.example.org/automation/`, or name a folder.")
        };
        let folder =
            |path: &Path| std::path::absolute(path).map(Self::Folder).map_err(|error| fault(&error.to_string()));
        if text.trim().is_empty() {
            return Err(fault("it is empty"));
        }
        if !text.contains("://") {
            return folder(Path::new(text));
        }
        let url = Url::parse(text).map_err(|error| fault(&error.to_string()))?;
        match url.scheme() {
            "file" => folder(&url.to_file_path().map_err(|()| fault("it names a file of another computer"))?),
            // The address itself is not repeated: it may hold a secret.
            "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
                Err(fault("it holds credentials, and releases are for everybody"))
            }
            "http" | "https" if url.query().is_some() || url.fragment().is_some() => {
                Err(fault("it goes on behind its path, with `?` or `#`"))
            }
            "http" if !address::is_loopback(&url) => Err(fault("what comes by `http` can be changed on its way")),
            "http" | "https" => Ok(Self::Address(address::folder(url))),
            scheme => Err(fault(&format!("`{scheme}` is neither `https` nor `file`"))),
        }
    }

    /// What the place says is the newest release; it has `limit` for its answer.
    pub async fn newest(&self, limit: Duration) -> Result<NewestRelease, Fault> {
        let bytes = match self {
            Self::Folder(folder) => read(&folder.join(LATEST)).await?,
            Self::Address(url) => fetch(&url.join(LATEST).map_err(no_address)?, limit).await?,
        };
        NewestRelease::read(&bytes).map_err(|why| {
            Fault::outside(format!("`{}` does not say which release is the newest", self.file(LATEST))).because(why)
        })
    }

    /// The path or address of a file there.
    pub fn file(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Address(url) => format!("{url}{name}"),
        }
    }

    /// The place as it is given to others, without a slash at its end.
    pub fn text(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::Address(url) => url.as_str().trim_end_matches('/').to_owned(),
        }
    }
}

fn no_address(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::usage("there is no address of the newest release").because(error)
}

fn too_long(place: &str) -> Fault {
    Fault::outside(format!("`{place}` is too long for what says which release is the newest"))
        .hint("Name the place where releases of this tool are.")
}

async fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |error: std::io::Error| {
        Fault::outside(format!("cannot read `{}`", path.display()))
            .because(error)
            .hint("Name a folder with the files of a release.")
    };
    // A pipe would be waited for.
    if !tokio::fs::metadata(path).await.map_err(failed)?.is_file() {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    }
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    file.take(CAP as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() > CAP { Err(too_long(&path.display().to_string())) } else { Ok(bytes) }
}

async fn fetch(url: &Url, limit: Duration) -> Result<Vec<u8>, Fault> {
    let deadline = Deadline::after(limit, format!("`{url}` to answer"));
    let is_here = address::is_loopback(url);
    let mut builder = client_builder().connect_timeout(limit).redirect(Policy::custom(follow));
    if is_here {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|error| {
        Fault::outside(format!("cannot prepare a connection to `{url}`")).because(error.without_url())
    })?;
    let sending = client.get(url.clone()).header("Cache-Control", "no-cache").send();
    let mut answer = deadline.bound(sending).await?.map_err(|error| answer::not_reached(url, error))?;
    if !answer.status().is_success() {
        return Err(refusal(&answer, url));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = deadline.bound(answer.chunk()).await?.map_err(|error| answer::not_reached(url, error))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > CAP {
            return Err(too_long(url.as_str()));
        }
    }
    Ok(bytes)
}

/// Follows a redirect that stays as safe: never to where others can change what comes, nor to this computer from another.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last();
    let is_safe = address::is_private(attempt.url())
        && from.is_some_and(|from| address::is_loopback(from) == address::is_loopback(attempt.url()));
    if is_safe && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
}

fn refusal(answer: &Response, url: &Url) -> Fault {
    let status = answer.status();
    let fault = match answer.headers().get("Location").and_then(|place| place.to_str().ok()) {
        Some(place) if status.is_redirection() => {
            Fault::outside(format!("`{url}` leads to `{}`, which is not followed: HTTP {status}", place.escape_debug()))
        }
        _ if answer::may_pass(status) => {
            return Fault::infrastructure(format!("`{url}` cannot be fetched: HTTP {status}")).hint("Try again later.");
        }
        _ => Fault::outside(format!("`{url}` cannot be fetched: HTTP {status}")),
    };
    fault.hint("Name the place where releases of this tool are.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Reply, Server, says};

    const SHORT: Duration = Duration::from_millis(400);
    const TEXT: &str = r#"{"version": "1.2.3", "files": []}"#;

    #[test]
    fn a_place_is_an_address_that_nobody_can_change_or_a_folder() {
        let parse = |text: &str| ReleasePlace::parse(text, "--from");
        assert_eq!(parse("/a/b").unwrap(), ReleasePlace::Folder("/a/b".into()));
        assert_eq!(parse("file:///a%20b").unwrap().file("x"), "/a b/x");
        let place = parse("https://example.org/releases").unwrap();
        assert_eq!(
            (place.file("x"), place.text()),
            ("https://example.org/releases/x".into(), "https://example.org/releases".into())
        );
        for text in ["http://127.0.0.1:8080/x/", "http://localhost/", "http://[::1]:1"] {
            assert!(matches!(parse(text).unwrap(), ReleasePlace::Address(_)), "{text}");
        }
        for (text, told) in [
            ("", "empty"),
            ("http://example.org/", "changed on its way"),
            ("http://127.0.0.1.example.org/", "changed on its way"),
            ("ftp://example.org/", "`ftp`"),
            ("https://", "host"),
            ("https://example.org/?x=1", "`?`"),
            ("file://elsewhere/x", "another computer"),
            ("https://me:secret@example.org/", "credentials"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.message.starts_with("`--from` ") && fault.message.contains(told), "{text}: {fault:?}");
            assert!(!format!("{fault:?}").contains("secret") && fault.hint.is_some());
        }
    }

    #[tokio::test]
    async fn the_newest_release_is_read_at_an_address_within_bounds() {
        let newest = async |replies| {
            let server = Server::start(replies).await;
            let place = ReleasePlace::parse(&server.url, "--from").unwrap();
            (place.newest(SHORT).await, server)
        };
        let moved = |to: &str| Reply::Says("302 Found", format!("Location: {to}\r\n"), String::new());
        let (read, server) = newest(vec![says("200 OK", TEXT)]).await;
        assert_eq!(read.unwrap().version.to_string(), "1.2.3");
        assert!(server.request(0).starts_with("GET /latest.json HTTP/1.1\r\n"));
        let (read, server) = newest(vec![moved("/there/latest.json"), says("200 OK", TEXT)]).await;
        assert!(read.is_ok() && server.request(1).starts_with("GET /there/latest.json"));
        let long = format!("{TEXT}{}", " ".repeat(CAP));
        for (reply, told) in [
            (says("404 Not Found", ""), "HTTP 404"),
            (says("500 Oops", ""), "HTTP 500"),
            (says("200 OK", "<html>"), "does not say which release is the newest"),
            (says("200 OK", &long), "too long"),
            (moved("http://example.org/latest.json"), "`http://example.org/latest.json`, which is not followed"),
            (moved("https://example.org/latest.json"), "which is not followed"),
            // It leads to itself.
            (moved("/latest.json"), "which is not followed"),
            (Reply::Cuts, "broke"),
            (Reply::Hangs, "waited"),
        ] {
            let fault = newest(vec![reply]).await.0.unwrap_err();
            assert!(fault.line().contains(told), "{told}: {fault:?}");
        }
    }

    #[tokio::test]
    async fn the_newest_release_is_read_in_a_folder_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let place = ReleasePlace::Folder(folder.path().to_owned());
        let file = folder.path().join(LATEST);
        let told = async |told: &str| {
            let fault = place.newest(SHORT).await.unwrap_err();
            assert!(fault.line().contains(told) && fault.line().contains("latest.json"), "{fault:?}");
        };
        told("cannot read").await;
        std::fs::create_dir(&file).unwrap();
        told("cannot read").await;
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, vec![b' '; CAP + 1]).unwrap();
        told("too long").await;
        std::fs::write(&file, TEXT).unwrap();
        assert_eq!(place.newest(SHORT).await.unwrap().version.to_string(), "1.2.3");
    }
}
