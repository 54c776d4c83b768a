//! Addresses of indexes: where files are uploaded, and where they are listed.

use std::net::IpAddr;

use model::fault::Fault;
use reqwest::Url;

/// Where files are uploaded by default: the Python package index.
pub const REPOSITORY: &str = "https://upload.pypi.org/legacy/";

/// Where that one lists them.
const LISTING: &str = "https://pypi.org/simple/";

/// Reads an address that was given with `option`.
pub(crate) fn parse(text: &str, option: &str) -> Result<Url, Fault> {
    let fault = |why: &str| {
        Fault::usage(format!("`{option}` is not the address of an index: {why}"))
            .hint("Write it as `https://index.example.org/legacy/`.")
    };
    let url = Url::parse(text).map_err(|error| fault(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_none_or(str::is_empty) => Err(fault("it names no host")),
        // The address itself is not repeated: it may hold a secret.
        "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
            Err(fault("it holds credentials, which others can read on a command line")
                .hint("Put them into the variable `AUTOMATION_INDEX_TOKEN` or into your `.netrc`."))
        }
        "http" | "https" => Ok(url),
        scheme => Err(fault(&format!("`{scheme}` is neither `https` nor `http`"))),
    }
}

/// The host of a repository's address.
pub fn host_of(repository: &str) -> Result<String, Fault> {
    let url = parse(repository, "--repository-url")?;
    Ok(url.host_str().unwrap_or_default().to_owned())
}

/// The address with a slash at its end, so that names can be joined to it.
pub(crate) fn folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

/// Where an index lists files that takes them at `repository`: `upload.HOST/legacy/` of the Python package index at
/// `HOST/simple/`, another's `legacy/` at the `simple/` beside it, and anything else at the `simple/` below it.
pub(crate) fn default_listing(repository: &Url) -> Result<Url, Fault> {
    let fault = |error| {
        Fault::usage(format!("`{repository}` does not say where files are listed"))
            .because(error)
            .hint("Name that place with `--index-url`.")
    };
    if repository.as_str() == REPOSITORY {
        return Url::parse(LISTING).map_err(fault);
    }
    let base = folder(repository.clone());
    let name = if base.path().ends_with("/legacy/") { "../simple/" } else { "simple/" };
    base.join(name).map_err(fault)
}

/// Whether the address is one of this computer.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether nobody between can read what travels there.
pub(crate) fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_where_such_an_index_has_it() {
        for (repository, listing) in [
            (REPOSITORY, LISTING),
            ("https://test.pypi.org/legacy/", "https://test.pypi.org/simple/"),
            ("http://localhost:8080", "http://localhost:8080/simple/"),
            ("https://example.org/team/index", "https://example.org/team/index/simple/"),
            ("https://example.org/a/legacy", "https://example.org/a/simple/"),
        ] {
            let url = parse(repository, "--repository-url").unwrap();
            assert_eq!(default_listing(&url).unwrap().as_str(), listing);
        }
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused_and_a_secret_in_it_not_repeated() {
        for text in ["", "pypi", "ftp://x/", "file:///x", "https://"] {
            assert!(parse(text, "--index-url").unwrap_err().message.contains("`--index-url`"), "{text}");
        }
        let fault = parse("https://__token__:pypi-secret@example.org/", "--repository-url").unwrap_err();
        assert!(!format!("{fault:?} {:?}", fault.hint).contains("pypi-secret"));
        assert!(fault.hint.unwrap().contains("AUTOMATION_INDEX_TOKEN"));
    }

    #[test]
    fn what_is_on_this_computer_is_known() {
        let of = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(
            of("http://127.0.0.1:80/") && of("http://[::1]:1/") && of("http://localhost/") && of("http://127.8.0.1/")
        );
        assert!(
            !of("http://localhost.example.org/") && !of("http://10.0.0.1/") && !of("http://127.0.0.1.example.org/")
        );
        assert!(is_private(&Url::parse("https://x.org").unwrap()) && !is_private(&Url::parse("http://x.org").unwrap()));
    }
}
