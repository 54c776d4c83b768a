//! `automation bootstrap-windows-dev`.

use model::fault::Fault;
use model::machine::ProviderKind;
use project::image::{Definition, GivenValue};

use crate::command::ec2::args::BaseImageArg;
use crate::command::image::{BakeArgs, bake_all};
use crate::command::parameter_args::parse_any;
use crate::command::windows_args::{WINDOWS_DEV, choice};
use crate::compose::Context;

/// Bake the image for Windows development machines.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    base: BaseImageArg,
    /// A parameter of the image's definition, by name; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parse_any)]
    parameters: Vec<(String, String)>,
    #[command(flatten)]
    bake: BakeArgs,
}

/// Bakes the image where it is missing.
pub(super) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    if kind != ProviderKind::Ec2 {
        return Err(Fault::usage(format!("`{WINDOWS_DEV}` is an image of Amazon EC2, not of provider `{}`", kind.name()))
            .hint("Give `--provider ec2`; `automation image build windows-standin` makes what stands in for Windows on this computer."));
    }
    let definition = context.definition(WINDOWS_DEV)?;
    let plan = definition.plan(&chosen(&context, &definition, &args)?)?;
    bake_all(context, "bootstrap-windows-dev", vec![plan], false, args.bake).await
}

/// The choice of the image, with the values that were typed before those of the settings.
fn chosen(context: &Context, definition: &Definition, args: &Args) -> Result<project::image::ImageChoice, Fault> {
    let mut choice = choice(context, definition, &args.base)?;
    for (at, (name, value)) in args.parameters.iter().enumerate() {
        if args.parameters.iter().take(at).any(|(other, _)| other == name) {
            return Err(Fault::usage(format!("the parameter `{name}` is given twice")).hint("Leave one of them out."));
        }
        choice.values.insert(name.clone(), GivenValue { value: value.clone(), origin: None });
    }
    Ok(choice)
}
