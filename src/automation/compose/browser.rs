//! The user's browser.

use std::path::Path;

use model::fault::Fault;
use webbrowser::{Browser, BrowserOptions};

/// Shows a file in the browser that the user prefers: that of `$BROWSER`, else that of the desktop. One with windows goes on by
/// itself; one for terminals takes the terminal until it is left.
pub(crate) fn open(path: &Path) -> Result<(), Fault> {
    let unfit = |why: String| {
        Fault::outside(format!("cannot open `{}` in a browser", path.display()))
            .because(why)
            .hint("The file is there: open it by hand, or name a browser in the variable `BROWSER`.")
    };
    let path = std::path::absolute(path).map_err(|error| unfit(error.to_string()))?;
    let address = format!("file://{}", encode(&path));
    // Else what a browser says of its own troubles would stand between our lines.
    let quietly = BrowserOptions::new().with_suppress_output(true).clone();
    webbrowser::open_browser_with_options(Browser::Default, &address, &quietly)
        .map_err(|error| unfit(error.to_string()))
}

/// A path as a part of an address.
fn encode(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_nothing_that_would_end_the_path() {
        assert_eq!(encode(Path::new("/a b/c#d?e%f/é")), "/a%20b/c%23d%3Fe%25f/%C3%A9");
    }
}
