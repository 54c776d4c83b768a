//! `automation uninstall`.

use std::path::PathBuf;

use local::uninstall::{Inventory, Uninstaller};
use model::base::id::{MachineId, RunId};
use model::base::removal;
use model::base::text::pluralize;
use model::fault::{Fault, FaultKind, Leftovers};
use model::journal::ResourceFilter;
use model::machine::ProviderKind;
use model::resource::ResourceState;
use model::run::RunRecord;
use model::work::Work;
use serde::Serialize;
use state::process;

use crate::command::completions::install;
use crate::command::error::exit;
use crate::compose::{Context, executable, state_path};
use crate::globals::Globals;
use crate::ui::confirm;

/// How many of the obstacles an error names.
const NAMED: usize = 20;

/// How many characters of a layer's name are shown: those that `image list` shows.
const NAME_SHOWN: usize = 12;

/// The options of `automation uninstall`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The things that were found, and their fate.
#[derive(Serialize)]
struct UninstallSummary {
    id: PathBuf,
    machines: Vec<MachineId>,
    /// Folders of layers, those on their way in or out included.
    layers: usize,
    runs: usize,
    /// Resources that are kept in accounts and stay there.
    kept: Vec<String>,
    /// The files with completions that the tool wrote for the user; none where the directory was named, for they are not its own.
    completions: Vec<PathBuf>,
    fate: &'static str,
    /// The reasons why something stays.
    left: Vec<String>,
}

/// Removes everything.
pub async fn run(globals: &Globals, words: Vec<String>, args: Args) -> Result<i32, Fault> {
    let path = state_path(globals)?;
    // Opening the directory would make one.
    if !path.join("layout").is_file() {
        let fault = Fault::usage(format!("`{}` is not a state directory of this tool", path.display()));
        return Err(fault.hint("Name it with `--state-path`; where there is none, there is nothing to remove."));
    }
    let context = Context::open_for_cleanup(globals, words)?;
    refuse(&context)?;
    let uninstaller = Uninstaller::new(context.state.root(), executable()?);
    let inventory = uninstaller.inventory()?;
    let runs = context.journal.runs(usize::MAX)?.len();
    let is_usual = globals.state_path.is_none();
    let mut removal = UninstallSummary {
        id: context.state.root().to_owned(),
        machines: inventory.machines.clone(),
        layers: inventory.layers.len(),
        runs,
        kept: list_kept(&context)?,
        completions: if is_usual { install::installed()? } else { Vec::new() },
        fate: "would be removed",
        left: Vec::new(),
    };
    let what = describe(&removal);
    for kept in &removal.kept {
        context.screen.message(&format!("Stays in its account: {kept}"));
    }
    if args.dry_run {
        show(&context, &removal, args.json, &format!("Would remove {what}."));
        return Ok(exit::OK);
    }
    if !args.yes && !confirm::can_ask() {
        return Err(Fault::usage(format!("nobody is there to be asked whether to remove {what}"))
            .hint(format!("`{}` does not ask.", context.to_type("uninstall --yes"))));
    }
    if !args.yes && !confirm::confirm(&format!("Remove {what}?")) {
        context.screen.message("Nothing was removed.");
        return Ok(exit::OK);
    }
    removal.left = tokio::task::block_in_place(|| remove(&context, &uninstaller, &inventory, &removal.completions));
    removal.fate = if removal.left.is_empty() { "gone" } else { "stays" };
    let text = if removal.left.is_empty() { format!("Removed {what}.") } else { removal.left.join("\n") };
    show(&context, &removal, args.json, &text);
    if !removal.left.is_empty() {
        let again = context.to_type("uninstall --yes");
        context.screen.message(&format!(
            "hint: What could be removed is gone; the journal and the settings stay until the rest is. Do away with what \
             is in the way, then repeat `{again}`."
        ));
    }
    Ok(if removal.left.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}

fn show(context: &Context, removal: &UninstallSummary, json: bool, text: &str) {
    if json {
        context.screen.json(removal);
    }
    context.screen.message(text);
}

fn describe(removal: &UninstallSummary) -> String {
    let UninstallSummary { machines, layers, runs, .. } = removal;
    let (machines, layers) = (pluralize(machines.len(), "machine"), pluralize(*layers, "image layer"));
    let completions: String =
        removal.completions.iter().map(|path| format!(", and the completions `{}`", path.display())).collect();
    format!(
        "`{}` with {machines}, {layers}, kept builds and {}, keys and settings{completions}",
        removal.id.display(),
        pluralize(*runs, "run")
    )
}

/// Refuses while a run is at work, and while something elsewhere would be lost sight of.
fn refuse(context: &Context) -> Result<(), Fault> {
    let machines = context.journal.machines()?;
    let goes_on = |run: &RunRecord| process::is_running(run, &machines, context.now());
    if let Some(run) = context.journal.runs(usize::MAX)?.iter().find(|run| goes_on(run)) {
        let how =
            if process::is_driven(run) { "is at work" } else { "is at work: it was detached, and its machine lives" };
        let (cancel, wait) = (format!("runs cancel {}", run.id), format!("runs wait {}", run.id));
        let (cancel, wait) = (context.to_type(&cancel), context.to_type(&wait));
        return Err(Fault::usage(format!("run {} {how}", run.id))
            .hint(format!("`{cancel}` ends it, `{wait}` waits for its results.")));
    }
    let open = context.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })?;
    let elsewhere: Vec<String> = open
        .iter()
        .filter(|row| row.provider != ProviderKind::Local)
        .map(|row| format!("{} {}", row.kind.name(), row.name))
        .collect();
    if elsewhere.is_empty() {
        return Ok(());
    }
    let count = elsewhere.len();
    let (fix, forget) = (context.to_type("audit --fix"), context.to_type("audit --forget ID"));
    let fault = format!(
        "{} that {} not on this computer would be lost sight of",
        pluralize(count, "resource"),
        match count {
            1 => "is",
            _ => "are",
        }
    );
    let named = elsewhere.into_iter().take(NAMED).collect();
    Err(Fault::new(FaultKind::LeftBehind, fault).with_leftovers(Leftovers::Named(named)).hint(format!(
        "`{fix}` removes what nobody uses, `machine down` ends what was kept, `{forget}` gives up what is out of reach."
    )))
}

/// Resources in accounts that runs of this directory made to outlive them.
fn list_kept(context: &Context) -> Result<Vec<String>, Fault> {
    let rows = context.journal.resources(&ResourceFilter::default())?;
    let kept = rows.into_iter().filter(|row| row.state == ResourceState::Kept);
    Ok(kept.map(|row| format!("{} {}", row.kind.name(), row.locator.unwrap_or(row.name))).collect())
}

/// Removes everything, last the files that mark it as a state directory; gives the reasons why something stays. What
/// stays does not keep the rest, but for those files.
fn remove(context: &Context, uninstaller: &Uninstaller, inventory: &Inventory, completions: &[PathBuf]) -> Vec<String> {
    let now = context.now();
    let mut left = remove_completions(context, completions);
    let teller = context.teller();
    for machine in &inventory.machines {
        let releasing = teller.begin(Work::Releasing { machine: machine.clone() });
        let ended = uninstaller.end(machine, &RunId::new(now), now);
        if ended.is_empty() {
            releasing.finish();
        }
        left.extend(ended);
    }
    let count = inventory.layers.len();
    for (at, layer) in inventory.layers.iter().enumerate() {
        // Each has tens of thousands of files.
        let name = layer.file_name().unwrap_or_default().to_string_lossy().chars().take(NAME_SHOWN).collect::<String>();
        context.screen.message(&format!("Removing image layer {name} ({} of {count}) ...", at + 1));
        let removed = uninstaller.remove_layer(layer);
        left.extend(removed.err().map(|error| removal::stays(layer, &error)));
    }
    context.screen.message("Removing builds, runs, keys and settings ...");
    let mut others = Vec::new();
    left.extend(uninstaller.remove_folders(&mut others));
    left.extend(context.state.remove(!left.is_empty(), &mut others));
    for path in &others {
        context.screen.message(&format!("`{}` stays: it is not ours.", path.display()));
    }
    if left.is_empty() {
        left.extend(remove_root(context).err());
    }
    left
}

/// Removes the files with completions; gives the reasons why one stays.
fn remove_completions(context: &Context, files: &[PathBuf]) -> Vec<String> {
    let mut left = Vec::new();
    for path in files {
        match std::fs::remove_file(path) {
            Ok(()) => context.screen.message(&format!("Removed the completions `{}`.", path.display())),
            Err(error) => left.push(removal::stays(path, &error)),
        }
    }
    left
}

/// Removes the state directory itself, and a link that leads to it, where nothing else is in it.
fn remove_root(context: &Context) -> Result<(), String> {
    let root = context.state.root();
    let failed = |error: std::io::Error| format!("cannot remove `{}`: {error}", root.display());
    let place = std::fs::canonicalize(root).map_err(failed)?;
    if removal::is_mount_point(&place).map_err(failed)? {
        context.screen.message(&format!("`{}` stays: it is a mount point.", root.display()));
        return Ok(());
    }
    match std::fs::remove_dir(&place) {
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            context.screen.message(&format!("`{}` stays: there are files in it that are not ours.", root.display()));
            return Ok(());
        }
        removed => removed.map_err(|error| format!("cannot remove `{}`: {error}", place.display()))?,
    }
    if root.is_symlink() {
        std::fs::remove_file(root).map_err(failed)?;
        let (link, place) = (root.display(), place.display());
        context.screen.message(&format!("`{link}` was a link to `{place}`; both are gone."));
    }
    Ok(())
}
