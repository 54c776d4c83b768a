//! The file in which people keep their passwords by host, as `ftp` began it and `curl` reads it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::fault::Fault;

use crate::credentials::Credentials;

/// The most bytes of such a file.
const CAP: u64 = 1 << 20;

/// The credentials that the file has for `host`, or for all hosts; none where there is no file. A file that others may
/// read is refused.
pub fn read(path: &Path, host: &str) -> Result<Option<Credentials>, Fault> {
    let shown = path.display();
    let failed = |error| Fault::outside(format!("cannot read `{shown}`")).because(error);
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !found.is_file() || found.len() > CAP {
        return Err(Fault::outside(format!("`{shown}` is not a file of passwords")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Fault::outside(format!("others may read the passwords in `{shown}`"))
            .hint(format!("`chmod 600 {shown}`, and make new ones if it was so for long.")));
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(Fault::outside(format!("the passwords in `{shown}` are those of another user")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(find(&text, host).map(|(user, secret)| Credentials::login(&user, &secret)))
}

/// The login and the password for `host`: of the first entry that names it, or of `default`, which ends the search.
fn find(text: &str, host: &str) -> Option<(String, String)> {
    let mut words = words(text).into_iter();
    let (mut login, mut password, mut fits) = (None, None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" | "default" if fits && password.is_some() => break,
            "machine" => {
                (login, password) = (None, None);
                fits = words.next().is_some_and(|name| name == host);
            }
            "default" => (login, password, fits) = (None, None, true),
            "login" => login = words.next(),
            "password" => password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    let password = password.filter(|_| fits)?;
    Some((login.unwrap_or_default(), password))
}

/// The words of the file, without comments and macros; a word in quotes may hold blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut in_macro = false;
    for line in text.lines() {
        // A macro ends with an empty line.
        if in_macro && !line.trim().is_empty() {
            continue;
        }
        in_macro = false;
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, after) = split_word(rest);
            rest = after.trim_start();
            if word == "macdef" {
                in_macro = true;
                break;
            }
            words.push(word);
        }
    }
    words
}

/// The first word, and what follows it.
fn split_word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut word, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (word, &quoted[at + 1..]),
            _ => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pair(login: &str, password: &str) -> Option<(String, String)> {
        Some((login.to_owned(), password.to_owned()))
    }

    #[test]
    fn the_entry_of_the_host_is_found_in_every_form() {
        let text = "# passwords\nmachine a.org login ann password one\nmachine b.org\n\tlogin bob\n\tpassword \"two \\\"2\\\"\"\n\
                    macdef init\ncd /machine c.org\n\nmachine c.org password three account x\ndefault login any password #4\n";
        assert_eq!(find(text, "a.org"), pair("ann", "one"));
        assert_eq!(find(text, "b.org"), pair("bob", "two \"2\""));
        assert_eq!(find(text, "c.org"), pair("", "three"));
        assert_eq!(find(&text.replace("#4", "four"), "d.org"), pair("any", "four"));
        assert_eq!(find("machine a.org login ann password one", "b.org"), None);
        assert_eq!(find("machine a.org login ann", "a.org"), None);
        assert_eq!(find("", "a.org"), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".netrc");
        assert!(read(&path, "a.org").unwrap().is_none());
        std::fs::write(&path, "machine a.org login ann password one\n").unwrap();
        for mode in [0o644, 0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let fault = read(&path, "a.org").unwrap_err();
            assert!(fault.message.contains("others may read"), "{fault:?}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path, "a.org").unwrap().is_some());
        assert!(read(&path, "b.org").unwrap().is_none());
        assert!(read(folder.path(), "a.org").is_err());
    }
}
