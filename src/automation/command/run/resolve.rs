//! All that is chosen for a command by options, by the project's file and by the settings, checked before anything is made.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::project::command::{FolderCommand, check_variable};
use ::project::file::{ProjectCommand, is_below};
use ::project::history::History;
use ::project::image::SetUp;
use ::project::source::{OWN, Source};
use flow::order::Order;
use flow::transfer::artifacts::Fetch;
use flow::transfer::sync_back::SyncBack;
use model::base::text;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use model::matrix::{self, Coordinate, Point};

use crate::command::boot_image::{BootImage, BootImages, plan_of_snapshot};
use crate::command::machine_args::{DISTRO, default_ttl};
use crate::command::matrix_args::{KnownAxis, in_cell};
use crate::command::run::project::Project;
use crate::command::run::{Args, UserArg};
use crate::command::unfit::{refuse_options, refuse_wait};
use crate::compose::Context;

/// The definition of the image where nothing is said.
const USUAL_IMAGE: &str = "plain";

/// What is told where a file asks for a set-up of an image, and no image is booted.
const SETUP_LEFT: &str = "warning: the `setup` of `automation.toml` is for an image, and is not done on a machine that is there already; \
                          `automation machine up --setup LINE` makes one with it";

/// The longest standard input, bytes: it is held in memory until the command begins.
const INPUT_CAP: u64 = 64 << 20;

/// The time that a machine needs before and after its command.
const AROUND: Duration = Duration::from_secs(3600);

/// The axis of `--matrix` beside the distribution, and the beginning of those that set a variable.
const IMAGE: &str = "image";
const VARIABLE: &str = "env.";

/// A command with everything about it resolved.
pub(super) struct Resolved {
    /// Its cells; one without coordinates where there is no matrix.
    pub(super) cells: Vec<ResolvedCell>,
    /// What is fetched from each.
    pub(super) fetch: Fetch,
    /// What is brought back.
    pub(super) sync_back: Option<SyncBack>,
    /// How long it may take.
    pub(super) limit: Option<Duration>,
    /// Where its machines come from.
    pub(super) kind: ProviderKind,
    /// The history that is sent with its files.
    pub(super) history: Option<History>,
}

/// One cell of it.
pub(super) struct ResolvedCell {
    /// What was chosen for it.
    pub(super) point: Point,
    /// The command.
    pub(super) command: FolderCommand,
    /// The image; none on a machine that somebody else made.
    pub(super) plan: Option<ImagePlan>,
    /// The machine.
    pub(super) order: Order,
}

/// Each point once for each of so many machines.
fn on_machines(points: Vec<Point>, machines: Option<u16>) -> Result<Vec<Point>, Fault> {
    let Some(machines) = machines.filter(|machines| *machines > 1) else { return Ok(points) };
    if points.len() * usize::from(machines) > matrix::MOST_POINTS {
        return Err(Fault::usage(format!("this takes more than {} machines", matrix::MOST_POINTS))
            .hint("Ask for less of them, or run it in parts."));
    }
    let with = |point: &Point, number: u16| {
        let coordinate = Coordinate { axis: "machine".to_owned(), value: number.to_string() };
        Point(point.0.iter().cloned().chain([coordinate]).collect())
    };
    Ok(points.iter().flat_map(|point| (1..=machines).map(|number| with(point, number))).collect())
}

impl Args {
    /// Checks all that can be refused before anything is made.
    pub(super) async fn resolve(
        &self,
        context: &Context,
        kind: ProviderKind,
        project: Project,
    ) -> Result<Resolved, Fault> {
        let Project { command, folder, root } = project;
        self.refuse_unfit(context, kind)?;
        if kind == ProviderKind::Host && command.setup.is_some() {
            context.screen.message(SETUP_LEFT);
        }
        let points = self.points(kind)?;
        let mut artifacts = self.artifacts.clone();
        artifacts.add(command.artifacts.clone());
        let fetch = artifacts.check(!self.sync_back.is_empty())?;
        let workdir = self.workdir(&command)?;
        let env = self.variables.resolve(command.env.clone())?;
        let limit = self.timeout.or(command.timeout);
        let lifetime = self.lifetime(kind, limit)?;
        let named = points.iter().map(|point| self.image_name(&command, point));
        let images = BootImages::of(context, &[kind], named).await?;
        let choose = |point: &Point| self.choose(context, kind, (&command, &root, &images), point, lifetime);
        let chosen = points.iter().map(choose).collect::<Result<Vec<_>, Fault>>()?;
        let (secrets, input) = (self.variables.secrets()?, self.input()?);
        let (source, history) = self.source(context, &folder).await?;
        if !source.has_folder(Path::new(&workdir)) {
            let why = format!("the folder `{workdir}` is none of those that are sent");
            let of_file = command.workdir.as_ref().filter(|_| self.workdir.is_none());
            return Err(of_file.map_or_else(|| Fault::usage(why.clone()), |placed| placed.fault(&why)));
        }
        if fetch.into.as_ref().is_some_and(|into| into.canonicalize().is_ok_and(|into| into == source.top)) {
            return Err(Fault::usage("`--artifacts` names the folder that is sent, whose files it would replace")
                .hint("Name another folder; `--sync-back GLOB` brings changed files into the folder itself."));
        }
        let sync_back = match self.sync_back.as_slice() {
            [] => None,
            globs => Some(SyncBack::note(&source.top, &source.paths, (globs, artifacts.excluded()), &OWN)?),
        };
        let (input, source, words) = (Arc::from(input), Arc::new(source), command.words);
        let patience = self.wait.unwrap_or(::project::PATIENCE);
        let cell = |(point, (plan, order)): (Point, (Option<ImagePlan>, Order))| {
            let mut env = env.clone();
            for Coordinate { axis, value } in &point.0 {
                if let Some(name) = axis.strip_prefix(VARIABLE) {
                    env.retain(|(other, _)| other != name);
                    env.push((name.to_owned(), value.clone()));
                }
            }
            let (words, secrets, input) = (words.clone(), secrets.clone(), Arc::clone(&input));
            let (workdir, source) = (workdir.clone(), Some(Arc::clone(&source)));
            let stays = self.on.is_given();
            let again = stays || self.watch;
            let command =
                FolderCommand { source, history: None, words, env, workdir, secrets, input, patience, again, stays };
            ResolvedCell { point, command, plan, order }
        };
        let cells = points.into_iter().zip(chosen).map(cell).collect();
        Ok(Resolved { cells, fetch, sync_back, limit, kind, history })
    }

    /// Refuses options that have no meaning where the machine comes from.
    fn refuse_unfit(&self, context: &Context, kind: ProviderKind) -> Result<(), Fault> {
        let kinds = [kind];
        self.machine.refuse_unfit(&kinds)?;
        let of_image = [
            ("--setup", self.setup.is_some()),
            ("--keep-failed", self.keep_failed.is_some()),
            ("--user", self.user.is_some() && !self.on.is_given()),
            ("--machines", self.machines.is_some()),
        ];
        refuse_options(&of_image, &kinds, |kind| kind != ProviderKind::Host)?;
        refuse_wait(self.wait.is_some(), &kinds)?;
        if kind == ProviderKind::Host && self.matrix.is_given() && self.detach {
            return Err(Fault::usage("one machine runs the cells of a matrix one after another, which takes a driver")
                .hint("Leave `--detach` out."));
        }
        context.require_ssh()?;
        context.require_platform(kind, FolderCommand::PLATFORM)
    }

    /// The points of the matrix, on each of the machines that were asked for.
    fn points(&self, kind: ProviderKind) -> Result<Vec<Point>, Fault> {
        let mut known: Vec<KnownAxis<'_>> =
            vec![self.machine.known_distro(), (IMAGE, self.image.as_ref().map(|_| "--image"))];
        for axis in self.matrix.names() {
            if let Some(name) = axis.strip_prefix(VARIABLE) {
                check_variable(name).map_err(Fault::usage)?;
                known.push((axis, self.variables.has(name).then_some("--env")));
            }
        }
        // For the hint: whoever names it as it stands gets another answer above.
        known.push(("env.NAME", None));
        let distros = self.machine.distro_axis()?;
        if let Some(option) = self.only_on_one().filter(|_| distros.is_some()) {
            return Err(Fault::usage(format!(
                "`{option}` takes one machine, and `--distro` names several distributions"
            ))
            .hint("Name one of them."));
        }
        let points = self.matrix.points(&known, distros)?;
        let of_image = points.iter().any(|point| point.get(DISTRO).is_some() || point.get(IMAGE).is_some());
        if kind == ProviderKind::Host && of_image {
            return Err(Fault::usage("a machine that is there already has the image that it has")
                .hint("Leave the axes `distro` and `image` out of `--matrix`."));
        }
        on_machines(points, self.machines)
    }

    /// The option that was given of those that have no meaning on several machines.
    fn only_on_one(&self) -> Option<&'static str> {
        let given =
            [("--terminal", self.terminal), ("--watch", self.watch), ("--sync-back", !self.sync_back.is_empty())];
        given.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }

    /// The files that are sent, and their history where that was asked for.
    async fn source(&self, context: &Context, folder: &Path) -> Result<(Source, Option<History>), Fault> {
        let source = self.files.travel.find(folder).await?;
        let history = self.history_of(&source).await?;
        let further = history.as_ref().map_or(0, |history| history.bytes);
        self.files.travel.check(&source, further, &context.screen)?;
        Ok((source, history))
    }

    /// The folder below the source in which the command runs.
    fn workdir(&self, command: &ProjectCommand) -> Result<String, Fault> {
        match &self.workdir {
            Some(workdir) if !is_below(workdir) => {
                Err(Fault::usage(format!("`{workdir}` is not a path below the source")))
            }
            Some(workdir) => Ok(workdir.clone()),
            None => Ok(command.workdir.as_ref().map(|workdir| workdir.text.clone()).unwrap_or_default()),
        }
    }

    /// The history of a source, where that was asked for.
    pub(super) async fn history_of(&self, source: &Source) -> Result<Option<History>, Fault> {
        Ok(if self.history { Some(History::of(source).await?) } else { None })
    }

    /// What the command reads, where that was asked for.
    fn input(&self) -> Result<Vec<u8>, Fault> {
        let mut input = Vec::new();
        if self.stdin {
            let read = std::io::stdin().lock().take(INPUT_CAP + 1).read_to_end(&mut input);
            read.map_err(|error| Fault::outside("cannot read standard input").because(error))?;
        }
        match input.len() as u64 > INPUT_CAP {
            true => Err(Fault::usage(format!("standard input has more than {}", text::bytes(INPUT_CAP)))
                .hint("Have it in a file of the folder that is sent.")),
            false => Ok(input),
        }
    }

    /// The image and the machine of one point.
    fn choose(
        &self,
        context: &Context,
        kind: ProviderKind,
        (command, root, images): (&ProjectCommand, &Path, &BootImages),
        point: &Point,
        lifetime: Duration,
    ) -> Result<(Option<ImagePlan>, Order), Fault> {
        let plan = match kind {
            ProviderKind::Host => None,
            _ => {
                let plan = self.image_plan(context, kind, (command, root, images), point);
                Some(plan.map_err(|fault| in_cell(point, fault))?)
            }
        };
        let mut machine = self.machine.clone();
        if let Some(network) = command.network {
            machine.hardware.or_network(network.into());
        }
        let user = self.user.unwrap_or(UserArg::Hg).name();
        let order = machine.order(&context.on(kind), plan.as_ref(), user, lifetime);
        Ok((plan, order))
    }

    /// The image at a point of the matrix.
    fn image_name<'a>(&'a self, command: &'a ProjectCommand, point: &'a Point) -> &'a str {
        point.get(IMAGE).or(self.image.as_deref()).or(command.image.as_deref()).unwrap_or(USUAL_IMAGE)
    }

    fn image_plan(
        &self,
        context: &Context,
        kind: ProviderKind,
        (command, root, images): (&ProjectCommand, &Path, &BootImages),
        point: &Point,
    ) -> Result<ImagePlan, Fault> {
        let image = self.image_name(command, point);
        let mut machine = self.machine.clone();
        if let Some(distro) = point.get(DISTRO) {
            machine.choose_distro(distro);
        }
        let set_up = match (&self.setup, &command.setup) {
            (Some(setup), _) => Some(SetUp::read(setup, Path::new(""))?),
            (None, Some(setup)) => Some(setup.set_up(root)?),
            (None, None) => None,
        };
        let plan = match images.get(context, kind, image)? {
            BootImage::Snapshot(record) => {
                plan_of_snapshot(record, set_up.as_ref(), kind, &machine.given_of_definition())?
            }
            BootImage::Definition(definition) => {
                let distro = command.distro.as_deref();
                let mut choice = machine.declared_choice(context, &definition, distro, &BTreeMap::new())?;
                choice.set_up = set_up;
                definition.plan(&choice).map_err(|fault| machine.name_setting(context, fault))?
            }
        };
        if plan.platform != FolderCommand::PLATFORM {
            return Err(Fault::usage(format!("machines of `{image}` have no Linux"))
                .hint("`machine up` and `machine exec` run commands there."));
        }
        Ok(plan)
    }

    /// How long the machine may live: longer than the command, by the time around it.
    fn lifetime(&self, kind: ProviderKind, limit: Option<Duration>) -> Result<Duration, Fault> {
        let ttl = self.ttl.unwrap_or_else(|| default_ttl(kind));
        match limit {
            Some(timeout) if timeout > ttl.saturating_sub(AROUND) && self.ttl.is_none() => Ok(timeout + AROUND),
            Some(timeout) if timeout >= ttl => Err(Fault::usage(format!(
                "the command may take {}, longer than the machine lives, {}",
                text::seconds(timeout),
                text::seconds(ttl)
            ))
            .hint("Give a longer `--ttl`.")),
            _ => Ok(ttl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::matrix::Axis;

    #[test]
    fn every_point_is_there_once_for_each_machine() {
        let axis = Axis { name: "env.A".to_owned(), values: vec!["x".to_owned(), "y".to_owned()] };
        let points = matrix::points(&[axis]).unwrap();
        let names = |machines| -> Vec<String> {
            on_machines(points.clone(), machines).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(Some(2)), ["x/1", "x/2", "y/1", "y/2"]);
        assert_eq!((names(None), names(Some(1))), (names(None), vec!["x".to_owned(), "y".to_owned()]));
        assert!(on_machines(points, Some(200)).is_err());
    }
}
