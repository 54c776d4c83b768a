//! What the build holds: with the feature `ec2` and without it.

use support::tool::Place;

#[test]
fn the_help_names_ec2_only_where_it_is_built_in() {
    let built_in = cfg!(feature = "ec2");
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0).text();
    for word in
        ["bootstrap-windows-dev", "terminate-ec2-instances", "purge-ec2-resources", "  try  ", "iam-policy", "Amazon"]
    {
        assert_eq!(help.contains(word), built_in, "{word} in {help}");
    }
    let help = place.run(&["help", "options"]).expect(0).text();
    for word in ["--aws-region", "--ingress-cidr", "--connect", "--instance-type", "--spot", "--max-cost"] {
        assert_eq!(help.contains(word), built_in, "{word} in {help}");
    }
    let help = place.run(&["run-tests-linux", "--help"]).expect(0).text();
    for word in ["--instance-type", "help ec2"] {
        assert_eq!(help.contains(word), built_in, "{word} in {help}");
    }
    place.run(&["help", "ec2"]).expect(if built_in { 0 } else { 2 });
}

/// The words between back quotes.
#[cfg(feature = "ec2")]
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(feature = "ec2")]
#[test]
fn every_name_of_the_predecessor_is_here() {
    let place = Place::new();
    let document = include_str!("../../docs/windows.md");
    let (_, rest) = document.split_once("|---|---|---|\n| `bootstrap-linux-dev`").expect("the table is there");
    let (table, _) = rest.split_once("\n\n").unwrap();
    let table = format!("| `bootstrap-linux-dev`{table}");
    let (mut commands, mut options) = (Vec::new(), 0);
    for row in table.lines() {
        let columns: Vec<&str> = row.split('|').collect();
        let (named, wanted) = (quoted(columns[1]), quoted(columns[2]));
        // What all commands have, each of them has.
        let named = if named.is_empty() { std::mem::take(&mut commands) } else { named };
        for command in &named {
            let mut help = place.run(&[*command, "--help"]).expect(0).text();
            help.push_str(&place.run(&["help", "options"]).expect(0).text());
            assert!(wanted.iter().all(|option| help.contains(option)), "{command} {wanted:?}: {help}");
        }
        options += wanted.len();
        commands.extend(named);
    }
    assert!(options > 20, "{table}");
}

#[cfg(not(feature = "ec2"))]
#[test]
fn a_build_without_ec2_knows_no_such_provider() {
    let place = Place::new();
    place.run(&["--provider", "ec2", "machine", "up"]).expect(2).tells(&["a provider that does not exist: `ec2`"]);
    place.settings("provider = \"ec2\"\n");
    place.run(&["machine", "list"]).expect(3).tells(&["config.toml:1"]);
}
