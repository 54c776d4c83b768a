//! Replaces `ec2` in a tool that was built without it: the same names, which offer nothing.

use model::fault::Fault;

use crate::compose::Context;

/// Options that every subcommand takes: there are none.
pub mod globals {
    /// None.
    #[derive(Debug, Clone, Default, clap::Args)]
    pub struct Ec2Globals {}
}

/// Groups of options, all of them empty.
pub mod args {
    use model::fault::Fault;
    use model::machine::{Hardware, ProviderKind};
    use model::price::Budget;

    use crate::compose::Context;

    /// No choice of a capacity.
    #[derive(Debug, Clone, Default, clap::Args)]
    pub struct SpotArg {}

    impl SpotArg {
        /// Never.
        pub fn is_given(&self) -> bool {
            false
        }

        /// Nothing was told that could be refused.
        pub fn refuse_unfit(&self, _: ProviderKind) -> Result<(), Fault> {
            Ok(())
        }
    }

    /// No options of a cloud.
    #[derive(Debug, Clone, Default, clap::Args)]
    pub struct CloudArgs {}

    impl CloudArgs {
        /// Nothing was told that could be refused.
        pub fn refuse_unfit(&self, _: ProviderKind) -> Result<(), Fault> {
            Ok(())
        }

        /// What a machine here is.
        pub fn hardware(&self, _: &Context) -> Hardware {
            Hardware::default()
        }

        /// What a machine here is.
        pub fn bake_hardware(&self) -> Hardware {
            Hardware::default()
        }

        /// What costs nothing has no bound.
        pub fn max_cost(&self) -> Option<Budget> {
            None
        }
    }

    /// No other owners.
    #[derive(Debug, Default, clap::Args)]
    pub struct AnyOwnerArg {}

    impl AnyOwnerArg {
        /// Never.
        pub fn is_given(&self) -> bool {
            false
        }
    }
}

/// No subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {}

impl Command {
    /// There is none to run.
    pub async fn run(self, _: impl FnOnce() -> Result<Context, Fault>) -> Result<i32, Fault> {
        match self {}
    }
}
