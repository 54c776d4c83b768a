//! The pictures of the README: made of a real run, and held against the next one.

use std::path::PathBuf;
use std::process::Command;

use support::mercurial;
use support::picture::{self, Line, Tone, plain};
use support::terminal::Terminal;
use support::tool::{Place, binary, clear};

/// The variable by which the pictures are written anew: `write`.
const PICTURES: &str = "AUTOMATION_PICTURES";

/// The largest picture, bytes: a page with several is to be there at once.
const MOST_BYTES: usize = 60_000;

/// What is typed for the run of the pictures, behind the program's name. The image's Mercurial spares the build.
const TYPED: &str = "run-tests-linux --shards 2 -- --with-hg=/hgdev/venv-bootstrap/bin/hg";

/// How many tests have ended at least where the run is shown that goes on.
const ENDED: usize = 10;

/// A test that fails.
const FAILS: &str = "\
  $ mkdir repo && cd repo
  $ echo one > a && echo two > b
  $ ls
  a
  b.orig
  $ cat a
  one
";

/// The names of tests that pass after a while.
const PASSING: [&str; 18] = [
    "test-add.t",
    "test-annotate.t",
    "test-bisect.t",
    "test-bookmarks.t",
    "test-branches.t",
    "test-clone.t",
    "test-commit.t",
    "test-copy.t",
    "test-diff-color.t",
    "test-graft.t",
    "test-histedit.t",
    "test-import.t",
    "test-merge1.t",
    "test-phases.t",
    "test-rebase.t",
    "test-shelve.t",
    "test-strip.t",
    "test-update.t",
];

/// Where the run is done: at home, so that no line names a place of this computer.
struct Studio {
    place: Place,
    checkout: PathBuf,
}

impl Studio {
    fn new() -> Self {
        let place = Place::whole();
        let slow = |at: usize| format!("  $ sleep 0.{}\n", 4 + at % 6);
        let passing = PASSING.iter().enumerate().map(|(at, name)| (*name, slow(at)));
        let others = [("test-amend.t", FAILS.to_owned()), ("test-archive.t", "  $ exit 80\n".to_owned())];
        let tests: Vec<(&str, String)> = passing.chain(others).collect();
        let tests: Vec<(&str, &str)> = tests.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let checkout = mercurial::small(place.path(), &tests);
        std::os::unix::fs::symlink(&place.state, place.home.join(".hgautomation")).unwrap();
        Self { place, checkout }
    }

    fn start(&self) -> Terminal {
        let mut command = Command::new(binary());
        clear(&mut command, &self.place.home);
        command.current_dir(&self.checkout).env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        command.args(TYPED.split(' '));
        Terminal::start(command, 70, 100)
    }
}

/// The lines of a look from the first that holds `word` on, as far as `goes_on` holds of those behind it.
fn part(look: &[Line], word: &str, goes_on: impl Fn(&str) -> bool) -> Vec<Line> {
    let texts: Vec<String> = look.iter().map(|line| picture::text(line).trim_end().to_owned()).collect();
    let start =
        texts.iter().position(|text| text.contains(word)).unwrap_or_else(|| panic!("no `{word}` in {texts:#?}"));
    let end = texts[start + 1..].iter().take_while(|text| goes_on(text)).count();
    look[start..=start + end].to_vec()
}

/// The line that was typed, and what follows.
fn typed(lines: Vec<Line>) -> Vec<Line> {
    let prompt = vec![(Tone::Faint, "$ ".to_owned()), (Tone::Plain, format!("automation {TYPED}"))];
    [prompt, plain("")].into_iter().chain(lines).collect()
}

/// Writes a picture where that is asked for, and holds the one that is there against it otherwise.
fn check(name: &str, title: &str, lines: &[Line]) {
    let path = support::root().join("docs/pictures").join(name);
    let picture = picture::svg(title, lines);
    assert!(picture.len() <= MOST_BYTES, "{name} has {} bytes", picture.len());
    for hidden in ["/tmp", "/work", "/root", "places/", "127.0.0.1"] {
        assert!(!picture.contains(hidden), "{name} shows `{hidden}`:\n{picture}");
    }
    if std::env::var_os(PICTURES).is_some_and(|wish| wish == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (kept, now) = (picture::structure(&kept), picture::structure(&picture));
    assert!(
        kept == now,
        "`docs/pictures/{name}` shows what the tool does not show any more; {PICTURES}=write writes it anew\n--- it shows\n{kept}--- the tool shows\n{now}"
    );
}

#[test]
fn the_pictures_of_the_readme_show_what_a_run_shows() {
    let studio = Studio::new();
    let terminal = studio.start();
    let is_whole = |lines: &[String]| {
        let text = lines.join("\n");
        let lanes = lines.iter().filter(|line| line.starts_with("hg-") && line.contains("test-")).count();
        let ended = text.split(" of 20 tests").next().and_then(|text| text.split(' ').next_back()?.parse().ok());
        lanes == 2
            && ended.is_some_and(|ended: usize| ended >= ENDED)
            && ["✗ 1 failed", "○ 1 skipped", " passed"].iter().all(|part| text.contains(part))
    };
    terminal.wait_until("region with both machines at work", is_whole);
    let live = terminal.look();
    terminal.wait_for("Nothing is left behind");
    let end = terminal.look();
    let (code, lines) = terminal.end();
    assert_eq!(code, Some(1), "{lines:#?}");
    let failure = part(&live, "✗ test-amend.t", |text| text.starts_with("  "));
    let region = part(&live, "━", |text| !text.is_empty());
    check("live.svg", "A run that goes on", &typed([failure, vec![plain("")], region].concat()));
    let mut verdict = part(&end, "FAILED", |text| !text.starts_with("Nothing is left behind"));
    // It names a place of this computer.
    verdict.retain(|line| !picture::text(line).contains(studio.place.home.to_str().unwrap()));
    verdict.extend(part(&end, "Nothing is left behind", |_| false));
    check("verdict.svg", "The end of a run", &typed(verdict));
    studio.place.assert_clean();
}

#[test]
fn what_differs_from_run_to_run_is_no_part_of_a_structure() {
    let picture = |test: &str, time: &str, bar: &str| {
        let line = vec![(Tone::Green, format!("{bar} ")), (Tone::Plain, format!(" 3 of 4  {test}  {time}"))];
        picture::svg("a run", &[plain("$ automation"), Line::new(), line])
    };
    let one = picture("test-a.t", "12s", "━━");
    assert_eq!(picture::structure(&one), picture::structure(&picture("test-<b>.t", "1m 05s", "━")));
    assert_eq!(picture::structure(&one), "p:$ automation\n\ng:━ p:N of N TEST N\n");
    // A line that is too long for a row goes on below, and is one line.
    let long = "word ".repeat(30);
    let wide = picture::svg("a run", &[plain(&format!("1s {long}"))]);
    assert_eq!(wide.matches("<text").count(), 2);
    assert_eq!(picture::structure(&wide), "p:N word\n");
    assert_ne!(picture::structure(&one), picture::structure(&picture("other.t", "12s", "━━")));
}
