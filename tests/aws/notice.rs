//! Spot instances that Amazon takes back under a run of tests: what is seen before they end, and what becomes of the tests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::tool::{Place, Running};

use super::cli::World;
use crate::emulated::sdk;

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(240);

/// From the notice to the end of the instance. AWS gives two minutes; this is longer than a run, so that it can only see the notice.
const LEFT: Duration = Duration::from_secs(1200);

/// A runner that needs no more than bash; each test takes a second and passes.
const CONFIG: &str = r#"
name = "counted"
list = "cat tests.txt"
names = { as = "file" }
report = { format = "events" }
run = '''
while IFS= read -r test; do
    printf '{"event": "start", "test": "%s", "at": %s}\n' "$test" "$(date +%s)" >>"$AUTOMATION_REPORT"
    sleep 1
    printf '{"event": "finish", "test": "%s", "outcome": "passed", "seconds": 1, "reason": null}\n' "$test" >>"$AUTOMATION_REPORT"
done <"${AUTOMATION_TESTS:-tests.txt}"
printf '{"event": "end"}\n' >>"$AUTOMATION_REPORT"
'''
"#;

/// A project with so many tests, and a run of it on spot instances.
struct Run<'a> {
    world: &'a World,
    running: Running,
    tests: usize,
    /// The newest run before it.
    before: Option<PathBuf>,
}

/// The folders of runs.
fn folders(world: &World) -> impl Iterator<Item = PathBuf> {
    let runs = std::fs::read_dir(world.place.state.join("runs")).into_iter().flatten().flatten();
    runs.map(|entry| entry.path())
}

impl<'a> Run<'a> {
    fn start(world: &'a World, tests: usize, further: &[&str]) -> Self {
        let project = world.place.path().join(format!("project-{tests}"));
        std::fs::create_dir(&project).unwrap();
        let names: String = (0..tests).map(|number| format!("counted-{number:02}\n")).collect();
        std::fs::write(project.join("tests.txt"), names).unwrap();
        let config = project.join("tests.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let words = ["--config", config.to_str().unwrap(), "--source", project.to_str().unwrap(), "--spot", "--json"];
        let before = folders(world).max();
        let running = world.start_strictly("run-tests", &[&words[..], further].concat());
        Self { world, running, tests, before }
    }

    /// The folder of the run, which is there once its machines are asked for.
    fn folder(&self) -> Option<PathBuf> {
        folders(self.world).max().filter(|newest| Some(newest) != self.before.as_ref())
    }

    /// The lines of a file of the run's folder.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = self.folder().and_then(|folder| std::fs::read_to_string(folder.join(name)).ok()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(self.running.lives() && Instant::now() < end, "no {what}: {}", self.running.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes the instance of a machine back; it ends after so long.
    fn interrupt(&self, machine: &str, after: Duration) {
        let find = async {
            let client = aws_sdk_ec2::Client::new(&sdk(&self.world.aws).await);
            let wanted = aws_sdk_ec2::types::Filter::builder().name("tag:hg:machine").values(machine).build();
            client.describe_instances().filters(wanted).send().await.unwrap()
        };
        let found = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(find);
        let instance = found.reservations()[0].instances()[0].instance_id().unwrap();
        self.world.aws.control.interrupt(instance, after);
    }

    /// The machine on which a run's first test began.
    fn machine(&self) -> String {
        self.wait_for("test", || {
            let began = self.lines("events.jsonl").into_iter().find(|event| event["kind"] == "test_began")?;
            began["subject"]["machine"].as_str().map(str::to_owned)
        })
    }

    /// It comes to an end that told of the notice, and leaves nothing; gives its results.
    fn end(self, machine: &str, code: i32) -> Value {
        let told = format!("{machine} ends at ");
        let done = self.running.end_within(LIMIT).expect(code).tells(&[&told, WHY, "Nothing is left behind"]);
        assert_eq!(self.world.aws.control.violations(), Vec::<String>::new());
        self.world.assert_clean();
        done.json()
    }

    /// All its tests have passed.
    fn end_green(self, machine: &str) -> Value {
        let tests = self.tests;
        let results = self.end(machine, 0);
        assert_eq!((&results["verdict"], &results["counts"]["passed"]), (&"passed".into(), &tests.into()));
        results
    }
}

const WHY: &str = "Amazon takes the spot instance back";

#[test]
fn a_spot_instance_that_is_taken_back_gives_its_tests_back_before_it_ends() {
    let Some(world) = World::with_machines(Place::small()) else { return };
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(0);
    split(&world);
    alone(&world);
    until_the_end(&world);
}

/// Of a run that is split, the tests go to other machines.
fn split(world: &World) {
    let run = Run::start(world, 40, &["--shards", "2"]);
    let (machine, part) = run.wait_for("part", || {
        let took = run.lines("queue.jsonl").into_iter().find(|entry| entry["what"] == "took")?;
        Some((took["machine"].as_str()?.to_owned(), took["tests"].as_array()?.len()))
    });
    assert!(part >= 2, "{part} tests");
    // One test has a result by now, and another is at work.
    run.wait_for("end of a test", || {
        let ended = |event: &Value| event["kind"] == "test_ended" && event["subject"]["machine"] == machine.as_str();
        run.lines("events.jsonl").iter().any(ended).then_some(())
    });
    run.interrupt(&machine, LEFT);
    let results = run.end_green(&machine);
    let machines = results["machines"].as_array().unwrap();
    let lost: Vec<&Value> = machines.iter().filter(|used| used["lost"].is_string()).collect();
    assert_eq!((machines.len(), lost.len()), (3, 1), "{results}");
    assert_eq!(lost[0]["machine"], machine.as_str());
    assert!(lost[0]["lost"].as_str().unwrap().contains(WHY), "{}", lost[0]);
    let tests = results["tests"].as_array().unwrap();
    assert!(tests.iter().any(|test| test["machine"] == machine.as_str()), "what had passed there counts");
    assert!(tests.iter().all(|test| test["others"].is_null()), "no test was tried twice: {results}");
}

/// Of a run on one machine, it is told, and the tests go on.
fn alone(world: &World) {
    let run = Run::start(world, 20, &[]);
    let machine = run.machine();
    run.interrupt(&machine, LEFT);
    run.end_green(&machine);
}

/// They are lost with the machine.
fn until_the_end(world: &World) {
    let run = Run::start(world, 60, &[]);
    let machine = run.machine();
    run.interrupt(&machine, Duration::from_secs(20));
    let results = run.end(&machine, 4);
    let (passed, lost) = (&results["counts"]["passed"], &results["counts"]["lost"]);
    assert!(passed.as_u64().unwrap() >= 5 && lost.as_u64().unwrap() >= 5, "{results}");
}
