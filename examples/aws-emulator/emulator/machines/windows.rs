//! Instances that have Windows: their machine is the stand-in of `images/windows-standin`, prepared so that it looks like one of
//! Amazon's image of Windows Server.
//!
//! There is no PowerShell, so user data is not run: `user-data.sh` does what the lines behind its script ask for. The rights of files,
//! services and the scanning of files are not there; programs that ask for them are held against what they must ask for. A program that is
//! not known ends with 97.

use model::connection::Connection;
use model::fault::Fault;
use model::task::Command;

/// The configuration of the SSH server, as user data leaves it.
pub(super) const SSHD: [&str; 4] = ["-i", "-e", "-f", "/etc/ssh/emulator_config"];

/// Runs a script by what stands for PowerShell.
pub(super) const RUN: &str = include_str!("windows/run-script.sh");

const PREPARE: &str = include_str!("windows/prepare.sh");
const USER_DATA: &str = include_str!("windows/user-data.sh");
const RELAY: &str = include_str!("windows/relay.py");

/// The programs that do the work of a recorder of their name.
const PROGRAMS: [(&str, &str); 7] = [
    ("ec2launch", include_str!("windows/ec2launch.py")),
    ("icacls", include_str!("windows/icacls.py")),
    ("powershell", include_str!("windows/powershell.py")),
    ("sc", include_str!("windows/sc.py")),
    ("shutdown", include_str!("windows/shutdown.py")),
    ("ssh-keygen", RELAY),
    ("ssh-keyscan", RELAY),
];

/// The programs on the side of Linux.
const SCRIPTS: [(&str, &str); 2] =
    [("relay.sh", include_str!("windows/relay.sh")), ("watch.sh", include_str!("windows/watch.sh"))];

/// Puts the programs into the machine.
pub(super) async fn install(connection: &dyn Connection) -> Result<(), Fault> {
    for (name, text) in PROGRAMS {
        let path = format!("/srv/windows/drive_c/standin/programs/{name}.py");
        connection.write_file(&path, text.as_bytes(), 0o644).await?;
    }
    for (name, text) in SCRIPTS {
        connection.write_file(&format!("/usr/local/lib/standin/{name}"), text.as_bytes(), 0o755).await?;
    }
    Ok(())
}

/// The command that prepares a machine whose port 22 answers at `address`.
pub(super) fn prepare(address: &str) -> Command {
    Command::new("sh").args(["-c", PREPARE, "prepare.sh", address]).stdin(Vec::new())
}

/// The command that does what `user_data` asks for.
pub(super) fn user_data(instance: &str, user_data: Vec<u8>) -> Command {
    Command::new("sh").args(["-c", USER_DATA, "user-data.sh", instance]).stdin(user_data)
}
