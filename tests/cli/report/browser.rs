//! Chromium without a window, which renders pages and has axe-core look at them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::root;
use support::tool::{Running, clear, skip};

/// How long one page may take on a computer that bakes an image beside it.
const LIMIT: Duration = Duration::from_secs(180);

/// The height of the window, as a telephone and a small screen have it.
const HEIGHT: u32 = 900;

/// What the page does to itself: it opens all that can be opened, has axe-core look, and tells the frame around it.
const LOOK: &str = "
    document.querySelectorAll('details').forEach(details => details.open = true);
    axe.run({resultTypes: ['violations']}).then(found => {
        const page = document.documentElement;
        const where = node => node.html.slice(0, 200) + ' ' + node.failureSummary;
        const said = JSON.stringify({
            violations: found.violations.map(rule => rule.id + ': ' + rule.nodes.slice(0, 3).map(where).join(' | ')),
            passes: found.passes.length,
            widths: [page.clientWidth, page.scrollWidth],
            background: getComputedStyle(document.body).backgroundColor,
        });
        parent.postMessage(btoa(unescape(encodeURIComponent(said))), '*');
    });";

/// The page around it, which notes what it is told.
const FRAME: &str = "<!DOCTYPE html><pre id=said></pre>
    <script>onmessage = told => document.getElementById('said').textContent = told.data;</script>
    <iframe src=page.html style='border:0;width:WIDTHpx;height:900px'></iframe>";

/// How a page is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) width: u32,
    pub(super) is_dark: bool,
}

/// A telephone and a screen, by day and by night.
pub(super) const VIEWS: [View; 4] = [
    View { width: 360, is_dark: false },
    View { width: 360, is_dark: true },
    View { width: 1440, is_dark: false },
    View { width: 1440, is_dark: true },
];

/// What axe-core and the browser say of a page.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Seen {
    /// What keeps people from reading it: the rule and where it is broken.
    pub(super) violations: Vec<String>,
    /// How many rules were held.
    pub(super) passes: u64,
    /// The width of the window and that of the page.
    pub(super) widths: (u64, u64),
    /// The background of the page, which tells light from dark.
    pub(super) background: String,
}

/// A browser with a folder of its own.
pub(super) struct Browser {
    folder: tempfile::TempDir,
    axe: PathBuf,
}

impl Browser {
    /// The browser; says what is missing where there is none.
    pub(super) fn find() -> Option<Self> {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|at| at.join("chromium").exists()));
        if !found {
            skip("there is no `chromium`");
            return None;
        }
        let folder = root().join("target/axe-core");
        let axe = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let Some(axe) = axe.into_iter().find(|path| path.to_string_lossy().ends_with(".min.js")) else {
            skip("there is no axe-core, which `tests/axe-core` fetches");
            return None;
        };
        Some(Self { folder: tempfile::tempdir().unwrap(), axe })
    }

    /// Has axe-core look at a page with all that can be opened open. The page is a copy of the file with the program in it, in a frame:
    /// the window itself cannot be as narrow as a telephone.
    pub(super) fn look(&self, page: &Path, view: View) -> Seen {
        let text = std::fs::read_to_string(page).unwrap();
        let (start, rest) = text.split_once("<meta http-equiv").unwrap();
        let (_policy, rest) = rest.split_once('>').unwrap();
        let axe = std::fs::read_to_string(&self.axe).unwrap();
        let rest = rest.replace("</body>", &format!("<script>{axe}</script><script>{LOOK}</script></body>"));
        std::fs::write(self.folder.path().join("page.html"), format!("{start}{rest}")).unwrap();
        let frame = self.folder.path().join("frame.html");
        std::fs::write(&frame, FRAME.replace("WIDTH", &view.width.to_string())).unwrap();
        let shown = self.run(&frame, view, &["--virtual-time-budget=120000".into(), "--dump-dom".into()]);
        let said = shown.split_once("id=\"said\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let (said, _) = said.unwrap_or_else(|| panic!("axe-core said nothing: {shown}"));
        let said = data_encoding::BASE64.decode(said.as_bytes()).unwrap_or_else(|error| panic!("{error}: {shown}"));
        serde_json::from_slice(&said).unwrap()
    }

    /// Makes a picture of a page as it is at first; gives the file.
    pub(super) fn picture(&self, page: &Path, view: View) -> PathBuf {
        let picture = self.folder.path().join("page.png");
        drop(std::fs::remove_file(&picture));
        self.run(page, view, &[format!("--screenshot={}", picture.display())]);
        picture
    }

    fn run(&self, page: &Path, view: View, further: &[String]) -> String {
        let mut command = Command::new("chromium");
        clear(&mut command, self.folder.path());
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
        ]);
        command.arg(format!("--user-data-dir={}", self.folder.path().join("profile").display()));
        command.arg(format!("--window-size={},{HEIGHT}", view.width));
        command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!view.is_dark)));
        command.args(further).arg(format!("file://{}", page.display()));
        Running::start(command).end_within(LIMIT).expect(0).text()
    }
}
