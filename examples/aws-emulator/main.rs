//! AWS without an account, to try the tool manually: starts the emulator that the tests use and prints how to reach it.
//!
//!     cargo run --release -p aws-emulator [-- [OPTIONS] [COMMAND...]]

// This program prints for a person at a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use aws_emulator::{Emulator, Options};
use model::fault::{Fault, FaultKind};
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "\
Emulates Amazon EC2 on this computer: no account, no cost, and every instance is a real machine.

Usage: cargo run --release -p aws-emulator [-- [OPTIONS] [COMMAND...]]

Without COMMAND it prints the variables to set in another terminal, and runs until Ctrl-C. With COMMAND it runs that with the
variables set, and ends with its exit code. Everything that it has started ends with it.

Options:
  --no-machines   Only the interface: instances are records without a machine behind them
  --function NAME=PROGRAM
                  A function of Lambda that `automation try` can call: the program gets the payload on its standard input,
                  and what it prints is the reply
  --folder DIR    Where it keeps base systems for the next time [default: target/aws-emulator]
  --help          Print this
";

/// The arguments of the command line.
#[derive(Debug, Default)]
struct Arguments {
    help: bool,
    no_machines: bool,
    folder: Option<PathBuf>,
    functions: Vec<(String, OsString)>,
    command: Vec<OsString>,
}

fn read(arguments: Vec<OsString>) -> Result<Arguments, Fault> {
    let mut asked = Arguments::default();
    let mut rest = arguments.into_iter();
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("--help" | "-h") => asked.help = true,
            Some("--no-machines") => asked.no_machines = true,
            Some("--folder") => {
                let folder = rest.next().ok_or_else(|| Fault::usage("`--folder` lacks its value"))?;
                asked.folder = Some(folder.into());
            }
            Some("--function") => {
                let given = rest.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
                let (name, program) = given
                    .split_once('=')
                    .ok_or_else(|| Fault::usage("`--function` needs a value such as `NAME=PROGRAM`"))?;
                asked.functions.push((name.to_owned(), program.into()));
            }
            Some("--") => {
                asked.command.extend(rest.by_ref());
            }
            Some(option) if option.starts_with('-') => {
                return Err(Fault::usage(format!("there is no option `{option}`")).hint("`--help` lists the options."));
            }
            _ => {
                asked.command.push(word);
                asked.command.extend(rest.by_ref());
            }
        }
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The guards of its machines run this same program.
    if let Some(code) = local::internal(&arguments) {
        std::process::exit(code);
    }
    match read(arguments).and_then(|asked| work(&asked)) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            eprintln!("error: {}", fault.chain().join(": "));
            if let Some(hint) = fault.hint {
                eprintln!("{hint}");
            }
            ExitCode::from(if fault.kind == FaultKind::Usage { 2 } else { 3 })
        }
    }
}

fn work(asked: &Arguments) -> Result<u8, Fault> {
    if asked.help {
        print!("{HELP}");
        return Ok(0);
    }
    let base = asked.folder.clone().unwrap_or_else(|| aws_emulator::project().join("target/aws-emulator"));
    let base = std::path::absolute(&base).map_err(|error| Fault::usage("the folder is not a path").because(error))?;
    let options = Options {
        folder: base.join(format!("run-{}", std::process::id())),
        machines: !asked.no_machines,
        executable: std::env::current_exe()
            .map_err(|error| Fault::outside("cannot find our own program").because(error))?,
        shares_moto: false,
        bases: base,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::outside("cannot start").because(error))?;
    let folder = options.folder.clone();
    let code = runtime.block_on(session(asked, options));
    // Its machines have ended; only the folder of base systems stays.
    drop(std::fs::remove_dir_all(folder));
    code
}

async fn session(asked: &Arguments, options: Options) -> Result<u8, Fault> {
    let hear = |kind| signal(kind).map_err(|error| Fault::outside("cannot receive signals").because(error));
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    eprintln!("starting the emulator, with {}", aws_emulator::moto::program().display());
    let machines = options.machines;
    let aws = Emulator::start(options)?;
    aws.control.set(|now| {
        now.functions = asked.functions.iter().map(|(name, program)| (name.clone(), vec![program.clone()])).collect();
    });
    eprintln!("the emulated AWS answers at {}", aws.endpoint());
    if machines {
        eprintln!("instances are machines on this computer; the first of a distribution downloads its packages");
    } else {
        eprintln!("instances are records only");
    }
    if asked.command.is_empty() {
        println!("unset AWS_PROFILE AWS_SESSION_TOKEN");
        for (name, value) in aws.environment() {
            println!("export {name}={value}");
        }
        eprintln!("Ctrl-C ends it");
        wait_for_signal(&mut interrupt, &mut terminate).await;
        eprintln!("ending everything");
        return Ok(0);
    }
    run(asked, &aws, &mut interrupt, &mut terminate).await
}

async fn wait_for_signal(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs the command to its end; passes a signal on to it and still waits for its end.
async fn run(asked: &Arguments, aws: &Emulator, interrupt: &mut Signal, terminate: &mut Signal) -> Result<u8, Fault> {
    let Some((program, arguments)) = asked.command.split_first() else { return Ok(0) };
    let started = tokio::process::Command::new(program)
        .args(arguments)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .envs(aws.environment())
        .spawn();
    let mut child = started
        .map_err(|error| Fault::usage(format!("cannot start `{}`", program.to_string_lossy())).because(error))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            // Ctrl-C goes to the whole group of the terminal.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    };
    let status = status.map_err(|error| Fault::infrastructure("cannot wait for the command").because(error))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
