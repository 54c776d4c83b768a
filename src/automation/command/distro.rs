//! The distribution on which a checkout is tested: one that was named, or the first that has what the checkout's build
//! needs.

use model::event::TestsEvent;
use model::fault::Fault;
use model::image::ImagePlan;
use project::image::Definition;
use project::mercurial::{BuildNeeds, Checkout};

use crate::command::machine_args::MachineArgs;
use crate::compose::Context;

/// The image to boot, and why it was chosen.
#[derive(Debug)]
pub struct ChosenImage {
    /// The image.
    pub plan: ImagePlan,
    /// The event that tells the user, where nobody named the distribution.
    pub why: Option<TestsEvent>,
}

/// Chooses the image for tests of `checkout`, or of the image's own source. `needs` are those of the checkout's build;
/// empty where nothing is built.
pub fn choose(
    context: &Context,
    args: &MachineArgs,
    checkout: Option<&Checkout>,
    needs: &BuildNeeds,
) -> Result<ChosenImage, Fault> {
    let definition = context.definition("linux-dev")?;
    let plan = |distro: &str| definition.plan(&args.parameters.choice(context, &definition, distro)?);
    let usual = &context.settings.defaults.distro;
    let Some(checkout) = checkout else {
        return Ok(ChosenImage { plan: plan(args.named_distro().unwrap_or(usual))?, why: None });
    };
    if args.named_distro().is_none() && !definition.distros().contains(usual) {
        // Another distribution must not silently replace one that the settings misspell.
        plan(usual)?;
    }
    let others = definition.distros_of(context.base_choice()?);
    let all: Vec<&str> =
        std::iter::once(usual).chain(others.iter().filter(|name| *name != usual)).map(String::as_str).collect();
    let lacking = |distro: &str| lacking(&definition, needs, distro);
    if let Some(named) = args.named_distro() {
        let plan = plan(named)?;
        let lacks = lacking(named);
        if lacks.is_empty() {
            return Ok(ChosenImage { plan, why: None });
        }
        let can: Vec<String> =
            all.iter().filter(|name| lacking(name).is_empty()).map(|name| format!("`{name}`")).collect();
        return Err(lacking_fault(named, checkout, &lacks, &can));
    }
    let (mut passed_over, mut fault) = (Vec::new(), None);
    for distro in all {
        let lacks = lacking(distro);
        if !lacks.is_empty() {
            passed_over.push(format!("{distro} lacks {}", lacks.join(", ")));
            continue;
        }
        match plan(distro) {
            Ok(plan) => {
                let (distro, of) = (distro.to_owned(), checkout.short().to_owned());
                return Ok(ChosenImage { plan, why: Some(TestsEvent::DistroChosen { distro, of, passed_over }) });
            }
            Err(why) => {
                passed_over.push(why.message.clone());
                fault.get_or_insert(why);
            }
        }
    }
    // The fault of one that can build the checkout says what is wrong with what was asked for.
    Err(fault.unwrap_or_else(|| {
        Fault::usage(format!("no distribution has what the build of {} needs", checkout.short()))
            .because(passed_over.join("\n"))
            .hint("Test an older revision (`--revision REV`), or use a machine that has it (`--host USER@HOST`).")
    }))
}

fn lacking(definition: &Definition, needs: &BuildNeeds, distro: &str) -> Vec<String> {
    needs.lacking(&definition.provided(distro))
}

fn lacking_fault(distro: &str, checkout: &Checkout, lacks: &[String], can: &[String]) -> Fault {
    let message = format!("`{distro}` cannot build {}: it lacks {}", checkout.short(), lacks.join(", "));
    Fault::usage(message).hint(match can {
        [] => "No distribution can; use a machine that has it (`--host USER@HOST`).".to_owned(),
        can => format!("{} can; without `--distro` the first of them is taken.", can.join(" and ")),
    })
}
