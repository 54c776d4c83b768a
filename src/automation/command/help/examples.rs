//! Examples of every command. A test reads each with the parser, so that none is out of date.

use clap::builder::styling::Style;
use model::machine::ProviderKind;

use crate::command::help::heading;
use crate::compose::providers;

/// A line to type, without the program's name, and what it does.
type Example = (&'static str, &'static str);

/// The words of an example by which it is one of EC2.
const EC2: &str = "--provider ec2";

/// The examples of each command that does something, by its name.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "run",
        &[
            ("run -- make check", "Build and check what the current folder holds"),
            (
                "run --image linux-dev --artifact 'out/*' --detach -- ./build.sh",
                "Leave it running, and fetch what it makes",
            ),
            (
                "run --setup 'apt-get install -y libfoo-dev' --shell 'make && ./test | tail'",
                "On an image with one package more",
            ),
            (
                "run --matrix distro=debian12,debian13 env.CC=gcc,clang -- make check",
                "Four times, each on a machine of its own",
            ),
            ("run --watch -- make check", "Again each time a file changes"),
        ],
    ),
    ("demo", &[("demo", "See it work, from nothing to nothing"), ("demo --json", "Print what its tests came to")]),
    (
        "init",
        &[
            ("init", "Write a first `automation.toml` for the project of this folder"),
            ("init --dry-run", "Only print it"),
        ],
    ),
    (
        "run-tests",
        &[
            ("run-tests --presets", "List the test runners that are known"),
            ("run-tests", "Run the tests of the project's `automation.toml`"),
            ("run-tests --failed-of latest", "Run again what failed"),
            (
                "run-tests --config tests.toml tests/test_a.py::test_one -- -x",
                "Run one test, with a flag for the runner",
            ),
        ],
    ),
    (
        "run-tests-linux",
        &[
            (
                "run-tests-linux test-add.t test-commit.t -- --timeout 60 -j 4",
                "Run two tests, with flags for the runner",
            ),
            ("run-tests-linux --shards 4 --retry-failed 2", "Run all tests on four machines, and tell the flaky ones"),
            (
                "run-tests-linux --failed-of latest --keep-failed 1h",
                "Run again what failed, and keep the machine for a look",
            ),
        ],
    ),
    (
        "run-tests-windows",
        &[
            (
                "run-tests-windows test-ancestor.py -- --with-hg C:/hgdev/python/Scripts/hg.exe",
                "Run one test on the stand-in",
            ),
            ("run-tests-windows --host me@winbox --platform windows", "Run all tests on a machine that you have"),
        ],
    ),
    (
        "runs list",
        &[("runs list", "List the newest runs"), ("runs list --limit 500 --json", "List many, for a program")],
    ),
    (
        "runs show",
        &[
            ("runs show latest --failed --diff", "Show what failed, with the differences"),
            ("runs show latest test-merge1.t --cell debian12/tmpfs", "Show one test of one cell"),
        ],
    ),
    (
        "runs logs",
        &[
            ("runs logs", "Print the output of the latest run"),
            ("runs logs latest --follow", "Look on while it goes on"),
            ("runs logs 20261120-105301 --steps", "Print what each step said"),
        ],
    ),
    (
        "runs attach",
        &[
            ("runs attach", "Follow the latest run to its end, as if it had been begun here"),
            ("runs attach 20261120-105301 --junit results.xml", "Write its report, too"),
        ],
    ),
    (
        "runs wait",
        &[
            ("runs wait", "Wait for the latest run, and end with its exit code"),
            ("runs wait 20261120-105301 --json", "Print its results as JSON"),
        ],
    ),
    (
        "runs cancel",
        &[
            ("runs cancel latest --dry-run", "Only say what would be ended"),
            ("runs cancel 20261120-105301", "End that run, and release its machines"),
        ],
    ),
    (
        "runs accept",
        &[
            ("runs accept test-merge1.t --dry-run", "Show what would change in the checkout"),
            ("runs accept --from 20261120-105301", "Accept what every failed test of that run printed"),
        ],
    ),
    (
        "runs report",
        &[
            ("runs report latest --open", "Make a page of the run, and show it in the browser"),
            ("runs report latest --against 20261120-105301 --output page.html", "Say what changed since another run"),
        ],
    ),
    (
        "runs gc",
        &[
            ("runs gc --keep 50 --older-than 90d --dry-run", "Only say which runs would go"),
            ("runs gc --keep 50 --yes", "Keep the newest fifty, without a question"),
        ],
    ),
    (
        "tests flaky",
        &[
            ("tests flaky", "List the flaky tests of the last 30 days"),
            ("tests flaky --since 90d --limit 10", "List the worst ten of a longer time"),
        ],
    ),
    (
        "tests slow",
        &[
            ("tests slow", "List the slowest tests of the last 30 days"),
            ("tests slow --limit 500 --json", "List many, for a program"),
        ],
    ),
    (
        "tests show",
        &[
            ("tests show test-merge1.t --since 90d", "Show what became of one test"),
            ("tests show 'test-merge1.t#fsmonitor'", "Show one case of it"),
        ],
    ),
    (
        "try",
        &[
            ("try --dry-run", "Only list what would be sent"),
            ("try --rev tip", "Send another changeset than the checked-out one"),
        ],
    ),
    (
        "build-windows-wheel",
        &[
            (
                "build-windows-wheel --working-copy --dist out",
                "Build all wheels with the changes that are not committed",
            ),
            (
                "build-windows-wheel --python-version 3.13 3.14 --arch x64 arm64 --revision 7.2.4",
                "Build four wheels of a release",
            ),
            (
                "--provider ec2 build-windows-wheel --revision 7.2.4 --shards 4",
                "Build all of them, on four machines of EC2",
            ),
        ],
    ),
    (
        "build-windows-installer",
        &[
            ("build-windows-installer --type inno --arch x64 --revision 7.2.4", "Build one installer of a release"),
            ("build-windows-installer --dist out", "Build all of the checked-out revision into another folder"),
        ],
    ),
    (
        "build-inno",
        &[
            ("build-inno --arch x86 x64 --revision 7.2.4", "Build the installers of a release for two architectures"),
            ("build-inno --arch x64 --working-copy", "Build one with the changes that are not committed"),
        ],
    ),
    (
        "build-wix",
        &[
            ("build-wix --arch x86 x64 --revision 7.2.4", "Build the installers of a release for two architectures"),
            ("build-wix --arch x64 --version 7.3+hg2", "Build one under a version of your own"),
        ],
    ),
    (
        "build-all-windows-packages",
        &[
            ("build-all-windows-packages --host me@winbox --platform windows", "Build all on a machine that you have"),
            (
                "--provider ec2 build-all-windows-packages --revision 7.2.4 --shards 4 --max-cost 10",
                "Build a whole release",
            ),
            ("build-all-windows-packages --revision 7.2.4 --dist rehearsal", "Rehearse it on this computer"),
        ],
    ),
    (
        "publish-windows-artifacts",
        &[
            ("publish-windows-artifacts 7.2.4 --dry-run", "Check the files, and say what would be sent"),
            ("publish-windows-artifacts 7.2.4 --no-pypi", "Publish at the host of the releases alone"),
        ],
    ),
    (
        "machine up",
        &[
            ("machine up", "Make a machine, and print its id"),
            ("machine up --image plain --distro debian12,debian13 --ttl 8h", "Make two plain ones that live longer"),
            ("--provider ec2 machine up --instance-type m6i.large --max-cost 2", "Make one on EC2"),
        ],
    ),
    ("machine list", &[("machine list", "List the machines"), ("machine list --json", "The same for a program")]),
    (
        "machine ssh",
        &[
            ("machine ssh latest", "Log in on the machine that was made last"),
            ("machine ssh 01jd -- top", "Run a program that wants a terminal"),
        ],
    ),
    (
        "machine exec",
        &[
            ("machine exec latest -- hg --version", "Run a command on one machine"),
            ("machine exec --all --timeout 5m -- uname -a", "Run it on every machine"),
        ],
    ),
    (
        "machine cp",
        &[
            ("machine cp src latest:/tmp", "Copy a folder to a machine"),
            ("machine cp latest:/var/log/dpkg.log .", "Copy a file from there"),
        ],
    ),
    (
        "machine sync",
        &[
            ("machine sync . latest:work --dry-run", "Only say what would be sent and removed"),
            ("machine sync src latest:work/src", "Bring a folder there up to date"),
        ],
    ),
    (
        "machine tunnel",
        &[
            ("machine tunnel latest 8080:80", "Reach the web server of a machine at 127.0.0.1:8080"),
            ("machine tunnel latest 0:5432", "The same for its database, at a port that is free here"),
        ],
    ),
    (
        "machine snapshot",
        &[
            ("machine snapshot latest built-once", "Keep what that machine has become as an image"),
            ("machine snapshot quiet-otter built-once --replace", "Replace it by what another has become"),
        ],
    ),
    (
        "machine down",
        &[
            ("machine down --all --dry-run", "Only say which machines would end"),
            ("machine down latest", "End the machine that was made last"),
            ("machine down 01jd 01je --dry-run", "Only say what would be removed of two"),
        ],
    ),
    (
        "machine check",
        &[
            ("machine check hg@buildhost", "Look whether that machine can be used with `--host`"),
            ("machine check me@winbox:2222 --platform windows", "The same with Windows, at another port"),
        ],
    ),
    (
        "image list",
        &[
            ("image list", "List the images"),
            ("image list --json", "The same for a program"),
            ("--provider ec2 image list", "List those on EC2"),
        ],
    ),
    (
        "image build",
        &[
            ("image build", "Bake the image for Mercurial's tests where it is missing"),
            ("image build plain --distro ubuntu24.04", "Bake another definition for another distribution"),
        ],
    ),
    (
        "image show",
        &[
            ("image show linux-dev-debian12", "Show an image and its layers"),
            ("image show 3fa9c1 --json", "Show one by the first digits of its fingerprint"),
        ],
    ),
    (
        "image rm",
        &[
            ("image rm linux-dev-debian12 --dry-run", "Only say what would go"),
            ("image rm 3fa9c1 --yes", "Remove one by the first digits of its fingerprint"),
        ],
    ),
    (
        "upgrade",
        &[
            ("upgrade --check", "Say whether there is a newer version, where the settings say that releases are"),
            ("upgrade --check --from https://releases.example.org/automation/", "Look at that place"),
        ],
    ),
    ("status", &[("status", "Show how things stand on one screen"), ("status --json", "The same for a program")]),
    (
        "image gc",
        &[
            ("image gc --dry-run", "Only say what would go"),
            ("image gc --keep 2", "Keep the two newest images of each name"),
        ],
    ),
    (
        "bootstrap-linux-dev",
        &[
            ("bootstrap-linux-dev --distros ubuntu24.04", "Bake one image"),
            ("bootstrap-linux-dev --distros debian12,debian13 --parallel", "Bake two images at the same time"),
            ("--provider ec2 bootstrap-linux-dev --max-cost 2", "Bake all of them on EC2"),
        ],
    ),
    (
        "bootstrap-windows-dev",
        &[
            (
                "--provider ec2 bootstrap-windows-dev --max-cost 2 --keep-failed",
                "Keep the machine of a step that failed",
            ),
            (
                "--provider ec2 bootstrap-windows-dev --base-image-name 'Windows_Server-2025-*'",
                "Start from another Windows",
            ),
        ],
    ),
    (
        "doctor",
        &[
            ("doctor", "Check this computer"),
            ("doctor --json", "The same for a program"),
            ("doctor --provider ec2", "Check credentials, region and address"),
        ],
    ),
    (
        "audit",
        &[
            ("audit", "Say what remains"),
            ("audit --fix --dry-run", "Say what would be removed"),
            ("audit --run 20261120-105301 --json", "Print the certificate of a run"),
        ],
    ),
    ("config list", &[("config list", "List the settings"), ("config list --json", "The same for a program")]),
    (
        "config get",
        &[
            ("config get defaults.distro", "Print the distribution of machines"),
            ("--state-path /srv/automation config get provider", "Print a setting of another state directory"),
        ],
    ),
    (
        "config set",
        &[
            ("config set defaults.distro debian13", "Take another distribution by default"),
            ("config set runs.keep 50", "Let old runs go by themselves"),
        ],
    ),
    (
        "config unset",
        &[
            ("config unset defaults.distro", "Take the usual distribution again"),
            ("config unset local.debian-mirror", "Take the mirror that this computer uses"),
        ],
    ),
    (
        "config path",
        &[
            ("config path", "Print where the settings file is"),
            ("--state-path /srv/automation config path", "Print where that of another state directory is"),
        ],
    ),
    (
        "config edit",
        &[
            ("config edit", "Edit the settings, and take them over when they are right"),
            ("--state-path /srv/automation config edit", "Edit those of another state directory"),
        ],
    ),
    (
        "completions",
        &[
            ("completions bash", "Print the script"),
            ("completions --install --dry-run", "Say where it would go for your shell"),
        ],
    ),
    (
        "terminate-ec2-instances",
        &[
            ("terminate-ec2-instances --dry-run", "Only list the machines"),
            ("terminate-ec2-instances --older-than 2d --yes", "End the old ones, without a question"),
        ],
    ),
    (
        "purge-ec2-resources",
        &[
            ("purge-ec2-resources --dry-run", "Only list what there is"),
            ("purge-ec2-resources --aws-region eu-central-1", "Remove what is in another region"),
        ],
    ),
    (
        "iam-policy",
        &[
            ("iam-policy", "Print the policy for all commands"),
            ("iam-policy run-tests-linux --owner me", "Print that of one command, for your own machines alone"),
        ],
    ),
    (
        "uninstall",
        &[
            ("uninstall --dry-run", "Only say what would be removed"),
            ("--state-path /srv/automation uninstall --yes", "Remove another state directory, without a question"),
        ],
    ),
    (
        "help",
        &[("help run-tests-linux", "Explain a command"), ("help options", "List the options that every command takes")],
    ),
];

/// The examples of the command that is called so; none of one that does nothing by itself. Those with EC2 are for a tool that has it.
pub fn of(name: &str) -> Vec<Example> {
    let has_ec2 = providers().any(|kind| kind == ProviderKind::Ec2);
    let fits = |(line, _): &&Example| has_ec2 || !line.contains(EC2);
    EXAMPLES.iter().filter(|(known, _)| *known == name).flat_map(|(_, all)| all.iter().filter(fits)).copied().collect()
}

/// The same as a text below the help.
pub(super) fn text(path: &[String], style: Style) -> Option<String> {
    let examples = of(&path.join(" "));
    if examples.is_empty() {
        return None;
    }
    let shown = examples.iter().map(|(line, what)| format!("\n  automation {line}\n      {what}"));
    Some(heading("Examples", style) + &shown.collect::<String>())
}
