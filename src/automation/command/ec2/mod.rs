//! The additions of a tool with Amazon EC2: subcommands, and options of other subcommands. `without_ec2.rs` has the
//! same names for a tool that was built without it.

pub mod args;
mod bootstrap_windows_dev;
mod emptying;
mod iam_policy;
mod purge_ec2_resources;
mod terminate_ec2_instances;
mod r#try;

use model::fault::Fault;

use crate::compose::Context;

/// The subcommands of EC2.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Bake the image for Windows development machines, on Amazon EC2
    ///
    /// Starts from the newest image of Windows Server that Amazon publishes, or from the newest that `--base-image-name`
    /// matches; how old it is, is told at the launch. `docs/windows.md` says what the image holds and what was never run on
    /// Windows.
    BootstrapWindowsDev(Box<bootstrap_windows_dev::Args>),
    /// End every machine of mine on EC2, in one region of the account
    ///
    /// Mine is what carries a tag of this tool and my owner: `--all-owners` widens that, `--untagged` takes what has only
    /// the `hg-` prefix, `--owner` names somebody else, `--older-than` narrows it. Requests for spot instances are
    /// cancelled first. Comes back when all are seen terminated; exit code 5 when something stays, with the reason. A
    /// person at a terminal is asked first, elsewhere `--yes` is needed. Nothing is made.
    TerminateEc2Instances(terminate_ec2_instances::Args),
    /// Remove everything of mine from EC2 and IAM: machines, images, what they share
    ///
    /// In one region of the account: machines, volumes, network interfaces, spot requests, images and their snapshots,
    /// key pairs, security groups; and the roles and instance profiles, which belong to all regions. Mine is what carries
    /// a tag of this tool and my owner: `--all-owners` widens that, `--untagged` takes what has only the `hg-` prefix,
    /// `--owner` names somebody else, `--older-than` narrows it. Comes back when all is seen gone; exit code 5 when
    /// something stays, with the reason. A person at a terminal is asked first, elsewhere `--yes` is needed. Nothing is
    /// made.
    PurgeEc2Resources(purge_ec2_resources::Args),
    /// Send a changeset to the try server of an AWS account, which tests it, and print what it replies
    ///
    /// Sends the changeset and the drafts that it stands on, as a bundle, to a function of AWS Lambda. What is sent is
    /// listed first. The function is called once: where its reply is lost, it is not called again. Exit code 2 where there
    /// is nothing to send or too much for one call, 3 where the function is missing or fails, 4 where it is not known
    /// whether it ran.
    Try(r#try::Args),
    /// Print the least IAM policy that the commands need, as JSON
    ///
    /// Without a command: that of all of them. The policy is to be attached to the user or role whose credentials are
    /// used. What it lets end or change carries the tag `hg:owner`, or has an exact name.
    IamPolicy(iam_policy::Args),
}

impl Command {
    /// Whether the command makes something on this computer.
    pub fn needs_room(&self) -> bool {
        matches!(self, Self::BootstrapWindowsDev(_))
    }

    /// Runs it; gives the exit code. `open` is called where it needs the state directory.
    pub async fn run(self, open: impl FnOnce() -> Result<Context, Fault>) -> Result<i32, Fault> {
        match self {
            Self::BootstrapWindowsDev(args) => bootstrap_windows_dev::run(open()?, *args).await,
            Self::TerminateEc2Instances(args) => terminate_ec2_instances::run(open()?, args).await,
            Self::PurgeEc2Resources(args) => purge_ec2_resources::run(open()?, args).await,
            Self::Try(args) => r#try::run(open()?, args).await,
            Self::IamPolicy(args) => iam_policy::run(&args),
        }
    }
}
