//! What the build holds: with the feature `ec2` and without it.

use support::tool::Place;

#[test]
fn the_help_names_ec2_only_where_it_is_built_in() {
    let built_in = cfg!(feature = "ec2");
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0).text();
    for word in [
        "terminate-ec2-instances",
        "purge-ec2-resources",
        "  try  ",
        "iam-policy",
        "--aws-region",
        "--ingress-cidr",
        "--connect",
    ] {
        assert_eq!(help.contains(word), built_in, "{word} in {help}");
    }
    let help = place.run(&["run-tests-linux", "--help"]).expect(0).text();
    for word in ["--instance-type", "--spot", "--max-cost"] {
        assert_eq!(help.contains(word), built_in, "{word} in {help}");
    }
    let completions = place.run(&["completions", "bash"]).expect(0).text();
    assert_eq!(completions.contains("purge-ec2-resources"), built_in);
}

#[cfg(not(feature = "ec2"))]
#[test]
fn a_build_without_ec2_knows_no_such_provider() {
    let place = Place::new();
    place.run(&["--provider", "ec2", "machine", "up"]).expect(2).tells(&["a provider that does not exist: `ec2`"]);
    place.settings("provider = \"ec2\"\n");
    place.run(&["machine", "list"]).expect(3).tells(&["config.toml:1"]);
}
