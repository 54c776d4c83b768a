//! Replaces `ec2` in a tool that was built without it: the same names, which offer nothing.

use model::fault::Fault;

use crate::compose::Context;

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

        /// There are no options that could be refused.
        pub fn refuse_unfit(&self, _: &[ProviderKind]) -> Result<(), Fault> {
            Ok(())
        }
    }

    /// No options of a cloud.
    #[derive(Debug, Clone, Default, clap::Args)]
    pub struct CloudArgs {}

    impl CloudArgs {
        /// There are no options that could be refused.
        pub fn refuse_unfit(&self, _: &[ProviderKind]) -> Result<(), Fault> {
            Ok(())
        }

        /// The default: there is nothing to choose from.
        pub fn hardware(&self, _: &Context) -> Hardware {
            Hardware::default()
        }

        /// The default: there is nothing to choose from.
        pub fn bake_hardware(&self) -> Hardware {
            Hardware::default()
        }

        /// No bound: machines without EC2 cost nothing.
        pub fn max_cost(&self) -> Option<Budget> {
            None
        }
    }

    /// No base images.
    #[derive(Debug, Clone, Default, clap::Args)]
    pub struct BaseImageArg {}

    impl BaseImageArg {
        /// None.
        pub fn name(&self) -> Option<&str> {
            None
        }

        /// There are no options that could be refused.
        pub fn refuse_unfit(&self, _: &[ProviderKind]) -> Result<(), Fault> {
            Ok(())
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
    /// There is none that could make something.
    pub fn needs_room(&self) -> bool {
        match *self {}
    }

    /// There is none to run.
    pub async fn run(self, _: impl FnOnce() -> Result<Context, Fault>) -> Result<i32, Fault> {
        match self {}
    }
}
