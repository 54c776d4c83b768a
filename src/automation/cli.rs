//! The tree of subcommands: parse, run, exit code.

use clap::{Args, Parser, Subcommand};
use model::base::escapes;
use model::fault::Fault;
use model::machine::ProviderKind;

use crate::command::{self, command_end, error};
use crate::compose::{self, Context};
use crate::globals::{Globals, color_typed, is_typed};
use crate::ui;

/// The version, with the commit that the tool was built from where that is known.
const VERSION: &str = env!("AUTOMATION_VERSION");

/// Ephemeral machines for builds and tests.
///
/// Gives a team throw-away machines, runs any command and any tests on them, brings the results home and proves that nothing was left
/// behind. Machines are made on this computer, without an account or a daemon, or by the provider that is named.
#[derive(Debug, Parser)]
#[command(name = "automation", version = VERSION, propagate_version = false, max_term_width = 100,
          disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run any command on an ephemeral machine, in the files of this folder
    ///
    /// What git or hg does not ignore of the folder is sent to a machine made for it, the command runs there, and the machine goes.
    /// Its output and its exit code are the command's own; 124 says that `--timeout` ended it, 125 that it could not be begun, its end
    /// is not known, or something was left behind, 130 that it was interrupted, 6 that it was left by Ctrl-C or a closed terminal and goes on. While it
    /// runs, Ctrl-C asks whether to detach, cancel or keep on. `docs/run.md` says more.
    Run(Box<command::run::Args>),
    /// Show the whole of it in a minute: two small tests on machines of this computer, and that nothing stays
    ///
    /// Bakes a bare image where there is none yet, makes two machines, runs a test of a second on each, shows the verdict and the certificate:
    /// everything that was made, and when it was seen gone. Needs no project and no account. What stays is the image, from which the next
    /// machine boots at once, and the record of the run. Where this computer cannot have machines it says what is lacking, as `doctor`
    /// does. Exit codes as with `run-tests`.
    Demo(command::demo::Args),
    /// Write a first `automation.toml` for the project of the current folder
    ///
    /// Looks at what the project is (Cargo, npm, Python, Go, CMake, Make, Mercurial) and writes a file with comments, which names the machine,
    /// what is installed on it, and a command `check`. A file that is there is never touched. `docs/run.md` explains the keys.
    Init(command::init::Args),
    /// Run Mercurial's test suite on an ephemeral Linux machine
    ///
    /// Inside a checkout of Mercurial its revision is sent and tested, elsewhere the source that comes with the image.
    /// The image is baked on first use. While the tests run, Ctrl-C asks whether to detach, cancel or keep on. Exit code:
    /// 0 all ran and passed, 1 some failed, 2 usage, 3 a cause outside, 4 something was lost, 5 something was left
    /// behind, 6 detached by the user, 130 interrupted.
    RunTestsLinux(Box<command::run_tests_linux::Args>),
    /// Run Mercurial's test suite with a Windows Python
    ///
    /// On a local machine that stands in for Windows (real Python and Mercurial for Windows, on Wine), on EC2, or on a machine of
    /// somebody else's that has Windows (`--host USER@HOST --platform windows`). Everything else is as with `run-tests-linux`. Where
    /// Mercurial cannot be built, as on the stand-in, `--with-hg` names one that is installed. `docs/windows.md` says what is real.
    RunTestsWindows(Box<command::run_tests_windows::Args>),
    /// Run the tests of any project on an ephemeral Linux machine, as a file declares them
    ///
    /// `--config FILE` says in TOML how a machine is made ready, how tests are listed and run, and how their report is read; presets know
    /// that of common test runners (`--presets` lists them). What git or hg does not ignore of the current folder is sent and
    /// tested. Everything else is as with `run-tests-linux`. `docs/runners.md` explains each key.
    RunTests(Box<command::run_tests::Args>),
    #[command(flatten)]
    Packages(command::packages::Command),
    /// Bake the images for Linux development machines
    BootstrapLinuxDev(command::bootstrap_linux_dev::Args),
    /// Keep machines by hand: make, list, enter, copy, end, check
    #[command(subcommand)]
    Machine(command::machine::Command),
    /// List, build, show, remove and collect images
    #[command(subcommand)]
    Image(command::image::Command),
    /// List, show, follow and cancel runs, print their logs, remove old ones
    #[command(subcommand)]
    Runs(command::runs::Command),
    /// Say what the kept runs know of tests: flaky ones, slow ones, what became of one
    #[command(subcommand)]
    Tests(command::tests::Command),
    /// Publish a release for Windows: wheels at a package index, all files at the host of the releases
    ///
    /// Checks first that every wheel and installer is in `--dist`, whole, and what its name says; then what is published
    /// already. A file that is there with the same bytes is done, one with other bytes is an error before anything is sent.
    /// `latest.dat`, which says what the download page offers, comes last. Asks first, on a terminal. The token for the
    /// index comes from `AUTOMATION_INDEX_TOKEN`, `TWINE_PASSWORD` or your `.netrc`; the host's key must be in your
    /// `known_hosts`. `docs/releasing.md` says the rest.
    PublishWindowsArtifacts(Box<command::publish_windows_artifacts::Args>),
    /// Say exactly what remains of all that was ever made, and remove what nobody uses
    ///
    /// Holds the journal against what is really there, both ways; rows of machines that ended by themselves are closed.
    /// A row is a machine; `--verbose` shows its parts. Exit code 0 when nothing remains that should not be there, 5 otherwise. Machines of
    /// living runs and machines that were kept on purpose may be there: they are shown and never touched; `machine down` ends the
    /// latter. A machine that is not in the journal here and whose
    /// expiry is ahead may be another computer's that has a copy of this state directory: it is shown as `elsewhere`, and
    /// ended where its id is given. Machines on EC2 whose expiry has passed are told to end, whoever made them.
    Audit(command::audit::Args),
    /// Show machines, runs, the disk, and what was left behind, on one screen
    ///
    /// By the record of this state directory. AWS is asked what machines cost where there are such, and nothing else is; where it does not
    /// answer, that is said. The exit code is 0 whatever is found: `audit` looks at everything, and has one that says what remains.
    Status(command::status::Args),
    #[command(flatten)]
    Ec2(command::ec2::Command),
    /// Check what this computer can do, with a remedy for what it cannot
    ///
    /// With `--provider ec2`: whether there are credentials, whether the region answers, and from where machines would be
    /// reached. Every check tries the thing itself. Exit code 0 when the main job can run here, 3 otherwise.
    Doctor(command::doctor::Args),
    /// Remove everything that the tool keeps on this computer
    ///
    /// Machines, images, runs, keys, settings, the record, and the completions that `completions --install` wrote: machines are ended, and
    /// files removed as the user who owns them. With `--state-path` that directory alone. Of an ordinary user's images most belong to ids that
    /// only the tool can act for, so that `rm -rf` fails. Asks first, on a terminal. Refused while a run is at work, and while something on
    /// EC2 or on a machine of somebody else's is recorded as left behind.
    Uninstall(command::uninstall::Args),
    /// Say whether there is a newer version of this tool, and what installs it
    ///
    /// Reads the newest version from `latest.json` where releases are: `--from`, the variable `AUTOMATION_RELEASES`, or `releases` in the
    /// settings; there is no usual place. Nothing is changed. Exit code 0 when this is the newest version, 1 when there is a newer one.
    Upgrade(command::upgrade::Args),
    /// List and change the settings
    #[command(subcommand)]
    Config(command::config::Command),
    /// Print the completions for a shell, or install them
    ///
    /// The script asks this program for what there is to choose from: commands and options, and values such as runs, machines, tests of the
    /// checkout and settings. With `--install` a file that loads it goes to where the shell looks for those of a user.
    Completions(command::completions::Args),
    /// Print the help of a command, or the options that every command takes
    Help(command::help::Args),
    /// Write manual pages into a folder, for packages of the tool
    #[command(hide = true)]
    Man(command::man::Args),
    #[command(flatten)]
    Internal(command::internal::Command),
}

impl Command {
    /// Whether the command makes something: on a full disk it is refused before it begins. A command that ends,
    /// collects or only looks works there.
    fn needs_room(&self) -> bool {
        use command::{image::Command as Image, machine::Command as Machine, runs::Command as Runs};
        match self {
            Self::Run(_)
            | Self::Demo(_)
            | Self::RunTestsLinux(_)
            | Self::RunTestsWindows(_)
            | Self::RunTests(_)
            | Self::Packages(_)
            | Self::BootstrapLinuxDev(_) => true,
            Self::Ec2(command) => command.needs_room(),
            Self::Machine(command) => matches!(command, Machine::Up(_) | Machine::Check(_) | Machine::Snapshot(_)),
            Self::Image(command) => matches!(command, Image::Build(_)),
            // Both write down the results of a run.
            Self::Runs(command) => matches!(command, Runs::Attach(_) | Runs::Wait(_)),
            Self::Audit(_)
            | Self::Status(_)
            | Self::Tests(_)
            | Self::PublishWindowsArtifacts(_)
            | Self::Doctor(_)
            | Self::Uninstall(_)
            | Self::Config(_)
            | Self::Upgrade(_)
            | Self::Completions(_)
            | Self::Init(_)
            | Self::Help(_)
            | Self::Man(_)
            | Self::Internal(_) => false,
        }
    }

    /// Whether the command makes the state directory where there is none. Another one finds nothing there, and leaves it so.
    fn needs_state(&self) -> bool {
        match self {
            Self::Ec2(_) | Self::Internal(_) | Self::PublishWindowsArtifacts(_) => true,
            Self::Runs(_) => false,
            command => command.needs_room(),
        }
    }

    /// Refuses a machine of somebody else's that the command would not use: it would act on others in its place.
    fn refuse_host(&self, globals: &Globals) -> Result<(), Fault> {
        let named = match (globals.host.as_slice(), globals.provider.as_deref()) {
            ([_, ..], _) => "--host",
            ([], Some(name)) if name == ProviderKind::Host.name() && globals.was_typed("--provider") => {
                "--provider host"
            }
            _ => return Ok(()),
        };
        let splits = matches!(self, Self::RunTestsLinux(_) | Self::RunTestsWindows(_) | Self::RunTests(_));
        if globals.host.len() > 1 && !splits {
            return Err(Fault::usage("this command works on one machine of somebody else's, and several are named")
                .hint("Name one with `--host`; commands that run tests take several."));
        }
        match self {
            // A machine that cannot be made is refused in words of its own.
            Self::Run(_)
            | Self::RunTestsLinux(_)
            | Self::RunTestsWindows(_)
            | Self::RunTests(_)
            | Self::Packages(_)
            | Self::Runs(_)
            | Self::Machine(command::machine::Command::Up(_))
            | Self::Help(_)
            | Self::Internal(_) => Ok(()),
            // Its host is none of a run's.
            Self::PublishWindowsArtifacts(_) if named == "--host" => Ok(()),
            _ => Err(Fault::usage(format!("`{named}` has no meaning for this command"))
                .hint("Leave it out. `run-tests-linux` takes it; `machine check USER@HOST` looks at such a machine.")),
        }
    }
}

/// The tree as it is declared, hidden subcommands included.
fn declared() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The clap tree for completions and manual pages, without hidden subcommands: some shells would offer them all the same.
pub(crate) fn tree() -> clap::Command {
    let whole = declared();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let tree = clap::Command::new("automation").version(VERSION).disable_help_subcommand(true);
    let tree = tree.about(whole.get_about().cloned().unwrap_or_default());
    let tree = tree.long_about(whole.get_long_about().cloned().unwrap_or_default());
    Globals::augment_args(tree).subcommands(shown)
}

/// The size of a command's stack, bytes, whatever the caller's limit is: the default of Linux. A build without
/// optimisation was seen to need more than 1 MiB.
const STACK: usize = 8 << 20;

/// Parses `arguments`, runs the command, gives the exit code.
pub fn run(arguments: Vec<std::ffi::OsString>) -> i32 {
    // The guard of a machine must not have threads, for it forks; nor does it need any of what follows.
    if let Some(code) = local::internal(arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    let running = std::thread::Builder::new().name("command".to_owned()).stack_size(STACK).spawn(|| drive(arguments));
    match running.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => {
            ui::complain(&format!("error: cannot start a thread: {error}"));
            error::exit::OUTSIDE
        }
    }
}

/// Reads the command line; what the parser has to say has colours as they are asked for on that line.
fn parse(arguments: &[std::ffi::OsString]) -> Result<Cli, clap::Error> {
    let color: clap::ColorChoice = color_typed(arguments).into();
    let mut command = command::help::lay_out(declared()).color(color);
    let mut matches = match command.try_get_matches_from_mut(arguments) {
        Err(error) if error.kind() == clap::error::ErrorKind::InvalidSubcommand => {
            let called = command::help::behind_group(arguments, &command);
            let page = called.and_then(|args| command::help::answer(&args, declared(), color));
            return Err(page.unwrap_or(error));
        }
        read => read?,
    };
    // What options of ours refuse is told as the parser tells its own.
    <Cli as clap::FromArgMatches>::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Whether the command line is one of `automation run`, whose exit codes are its command's, although the parser refused it.
fn is_run(arguments: &[std::ffi::OsString]) -> bool {
    let tree = declared().ignore_errors(true);
    tree.try_get_matches_from(arguments).is_ok_and(|matches| matches.subcommand_name() == Some(command::run::RUN))
}

fn drive(arguments: Vec<std::ffi::OsString>) -> i32 {
    if let Some(code) = command::completions::answer(&arguments, tree, read_globals) {
        return code;
    }
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            match non_utf8_fault(&error, &arguments) {
                Some(fault) => ui::complain(&error::render(&fault)),
                None => print_parser_message(&error),
            }
            let code = if is_run(&arguments) { error::exit::COMMAND_NOT_RUN } else { error::exit::USAGE };
            return final_code(code_of_message(&error, code));
        }
    };
    ui::dress(compose::look(&cli.globals));
    let Some(command) = cli.command else {
        return final_code(command::welcome::run(&cli.globals).unwrap_or_else(|fault| {
            ui::complain(&error::render(&fault));
            fault.kind.exit_code()
        }));
    };
    let words: Vec<String> = arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let code_of_fault = match command {
        Command::Run(_) => command_end::code_of_fault,
        _ => |fault: &Fault| fault.kind.exit_code(),
    };
    // A command that makes nothing made no run either.
    let again = command.needs_room().then(|| words.clone());
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui::complain(&format!("error: cannot start the runtime: {error}"));
            return error::exit::OUTSIDE;
        }
    };
    let result = runtime.block_on(dispatch(&cli.globals, command, words));
    if let Some(words) = again {
        command::runs::gc::collect_by_settings(&cli.globals, words);
    }
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    // A question that was given up half-way has left its terminal without echo.
    ui::secret::restore();
    final_code(result.unwrap_or_else(|fault| {
        ui::complain(&error::render(&fault));
        code_of_fault(&fault)
    }))
}

/// The exit code with a message of the parser: help that was asked for is a success, anything else ends with `code`.
fn code_of_message(message: &clap::Error, code: i32) -> i32 {
    if message.use_stderr() { code } else { error::exit::OK }
}

/// The options that every command takes, of a line that need not be finished.
fn read_globals(typed: &[std::ffi::OsString]) -> Option<Globals> {
    let tree = declared().ignore_errors(true);
    let mut matches = tree.try_get_matches_from(typed).ok()?;
    <Globals as clap::FromArgMatches>::from_arg_matches_mut(&mut matches).ok()
}

/// Prints the page that `automation help` was asked for; gives the exit code.
fn help(globals: &Globals, args: &command::help::Args) -> i32 {
    command::help::answer(args, declared(), globals.color.into()).map_or(error::exit::OK, |page| {
        print_parser_message(&page);
        code_of_message(&page, error::exit::USAGE)
    })
}

/// Prints the message of the command line's parser, which may be the help; in colours where a person reads it.
fn print_parser_message(parse_error: &clap::Error) {
    let text = parse_error.render().to_string();
    let safe = escapes::plain(&text);
    match (safe == text, parse_error.use_stderr()) {
        (true, true) => drop(parse_error.print()),
        (true, false) => {
            if let Err(error) = parse_error.print() {
                ui::not_written(&error);
            }
            // An empty print flushes what the buffer still holds, so that a failed write is noticed now.
            ui::print("");
        }
        (false, true) => ui::complain(safe.trim_end()),
        (false, false) => ui::print(&safe),
    }
    if parse_error.kind() == clap::error::ErrorKind::UnknownArgument && is_negative_number(&text) {
        ui::complain("hint: No option takes a value below zero.");
    }
    if let Some(variable) = variable_behind(parse_error, &text).filter(|_| parse_error.use_stderr()) {
        ui::complain(&format!("hint: The value comes from the variable `{variable}`."));
    }
}

/// The fault of an argument that should be UTF-8 and is not: the parser does not say which argument it is.
fn non_utf8_fault(error: &clap::Error, arguments: &[std::ffi::OsString]) -> Option<Fault> {
    let odd = arguments.iter().skip(1).find(|word| word.to_str().is_none());
    let odd = odd.filter(|_| error.kind() == clap::error::ErrorKind::InvalidUtf8)?.to_string_lossy();
    let fault = Fault::usage(format!("`{}` is not UTF-8", odd.escape_debug()));
    Some(fault.hint("Only paths on this computer may have any name."))
}

/// Whether the word that was taken for an option is a number below zero.
fn is_negative_number(message: &str) -> bool {
    message.split_once("'-").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The variable whose value was rejected, where the option that it stands for was not typed.
fn variable_behind(error: &clap::Error, message: &str) -> Option<String> {
    let tree = declared();
    let mut named = tree.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument.get_env()?)));
    let (_, variable) = named.find(|(long, variable)| {
        let option = format!("--{long}");
        let value = crate::compose::variables::value(variable);
        let unreadable = value.as_ref().is_some_and(|value| value.to_str().is_none());
        let meant = match error.kind() {
            clap::error::ErrorKind::InvalidUtf8 => unreadable,
            _ => message.contains(&format!("'{option}")),
        };
        meant && value.is_some() && !is_typed(&option)
    })?;
    Some(variable.to_string_lossy().into_owned())
}

/// The exit code of a process that would end with `code`, changed where its output could not be written.
fn final_code(code: i32) -> i32 {
    ui::close();
    let Some(fault) = ui::take_write_fault() else { return code };
    ui::complain(&error::render(&fault));
    if code == error::exit::OK { fault.kind.exit_code() } else { code }
}

async fn dispatch(globals: &Globals, command: Command, words: Vec<String>) -> Result<i32, Fault> {
    command.refuse_host(globals)?;
    let needs_room = command.needs_room();
    let needs_state = command.needs_state();
    let given = words.clone();
    let open = || match (needs_room, needs_state) {
        (_, false) if !compose::has_state(globals) => Context::of_nothing(globals, given),
        (true, _) => Context::open(globals, given),
        (false, _) => Context::open_for_cleanup(globals, given),
    };
    match command {
        // The command opens the state directory only where there is one.
        Command::Uninstall(args) => command::uninstall::run(globals, words, args).await,
        Command::Config(command) => command.run(globals, &words),
        Command::Completions(args) => command::completions::run(&args),
        Command::Man(args) => command::man::run(&args, &tree(), VERSION),
        Command::Help(args) => Ok(help(globals, &args)),
        Command::Init(args) => command::init::run(&args),
        Command::Upgrade(args) => command::upgrade::run(globals, args).await,
        Command::Internal(internal) => internal.run(open).await,
        Command::Doctor(args) => command::doctor::run(open()?, args).await,
        Command::Run(args) => command::run::run(open()?, *args).await,
        Command::Demo(args) => command::demo::run(open()?, globals, args).await,
        Command::RunTestsLinux(args) => command::run_tests_linux::run(open()?, *args).await,
        Command::RunTestsWindows(args) => command::run_tests_windows::run(open()?, *args).await,
        Command::RunTests(args) => command::run_tests::run(open()?, *args).await,
        Command::Packages(command) => command.run(open()?).await,
        Command::BootstrapLinuxDev(args) => command::bootstrap_linux_dev::run(open()?, args).await,
        Command::Machine(command) => command.run(open()?).await,
        Command::Image(command) => command.run(open()?).await,
        Command::Runs(command) => command.run(open()?).await,
        Command::Tests(command) => command.run(&open()?),
        Command::PublishWindowsArtifacts(args) => {
            // Its `--host` names no machine of a provider.
            let globals = Globals { host: Vec::new(), ..globals.clone() };
            let context = Context::open_for_cleanup(&globals, words)?;
            command::publish_windows_artifacts::run(context, *args).await
        }
        Command::Audit(args) => command::audit::run(open()?, args).await,
        Command::Status(args) => command::status::run(&open()?, &args).await,
        Command::Ec2(command) => command.run(open).await,
    }
}

#[cfg(test)]
mod tests;
