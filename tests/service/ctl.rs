//! `entente ctl` against a running edge, and against none.

use super::*;

/// An edge whose configuration names an admin socket.
fn world() -> World {
    let world = World::new();
    world.write(&text(&world).replace("[log]", "socket = \"admin.sock\"\n[log]"));
    world
}

fn text(world: &World) -> String {
    fs::read_to_string(world.file()).unwrap()
}

fn ctl(world: &World, arguments: &[&str]) -> Output {
    let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
    entente.arg("ctl").arg("--config").arg(world.file()).args(arguments);
    entente.env("RUST_BACKTRACE", "0").output().unwrap()
}

/// Runs `ctl` that must end with `code`; returns what it printed.
pub(super) fn ctl_ends(world: &World, code: i32, arguments: &[&str]) -> String {
    let output = ctl(world, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    said(&output)
}

pub(super) fn epoch(world: &World) -> u64 {
    let status: serde_json::Value =
        serde_json::from_str(&ctl_ends(world, 0, &["status", "--json"])).unwrap();
    status["epoch"].as_u64().unwrap()
}

const FABRIKAM: &str = "\n[[partner]]\ndomain = \"fabrikam.example\"\n";

#[test]
fn status_tells_of_the_edge_and_its_absence() {
    let world = world();
    let absent = ctl_ends(&world, 1, &["status"]);
    let socket = world.directory.path().join("admin.sock");
    let expected = format!(
        "entente: no edge listens on {}: it does not run, or was started without \
         management.socket\n",
        socket.display()
    );
    assert_eq!(absent, expected);
    let edge = world.run(|_| {});
    let status = ctl_ends(&world, 0, &["status"]);
    assert!(status.contains("stage        serving\nready        yes\n"), "{status}");
    assert!(status.contains("partners     0 listed\n"), "{status}");
    drop(edge);
}

#[test]
fn a_wrong_call_ends_with_2_and_a_file_without_socket_with_1() {
    let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
    let output = entente.args(["ctl", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said(&output), "entente: say which edge: --config FILE or --socket PATH\n");
    let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
    let arguments = ["ctl", "--socket", "/nowhere", "partner", "list"];
    let output = entente.args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "entente: the list of partners is in the policy file: --config FILE\n";
    assert_eq!(said(&output), expected);
    let world = World::new();
    let told = ctl_ends(&world, 1, &["reload"]);
    assert!(
        told.ends_with(
            "names no management.socket; add it and restart the edge, or give --socket\n"
        )
    );
    let told = ctl_ends(&world, 2, &["reload", "--confirm-within", "300"]);
    assert!(told.contains("expected a number with s, m or h, such as 5m"), "{told}");
    let told = ctl_ends(&world, 2, &["partner", "add", "fabrikam"]);
    assert!(told.contains("expected a full name with at least one dot"), "{told}");
}

#[test]
fn a_reload_tells_what_it_changed_and_diff_what_it_would() {
    let world = world();
    let before = text(&world);
    let _edge = world.run(|_| {});
    assert_eq!(ctl_ends(&world, 0, &["diff"]), "nothing changes\n");
    world.write(&format!("{before}{FABRIKAM}"));
    assert_eq!(ctl_ends(&world, 0, &["diff"]), "fabrikam.example gets in\n");
    assert_eq!(epoch(&world), 1, "diff changes nothing");
    let told = ctl_ends(&world, 0, &["reload"]);
    assert!(told.starts_with("fabrikam.example gets in\nepoch 2 is in force, from /"), "{told}");
    assert!(world.logs("reloaded, asked by user "), "{}", world.logged());
    assert!(world.logs("\"message\":\"fabrikam.example gets in\""));

    let other = world.directory.path().join("other.toml");
    fs::write(&other, before.replace("shards = 2", "shards = 1")).unwrap();
    let told = ctl_ends(&world, 0, &["diff", other.to_str().unwrap()]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "the reload would be refused: only a restart changes edge.shards ({}:4)",
            other.display()
        )
    );
    assert_eq!(lines[1], "fabrikam.example is cut off: not listed, and discovery is off");

    world.write(&before.replace("shards = 2", "shards = two"));
    let told = ctl_ends(&world, 1, &["reload"]);
    let file = world.file();
    let expected = format!("entente: {} has a problem; nothing was changed\n", file.display());
    assert!(told.starts_with(&expected), "{told}");
    assert!(told.contains(&format!("\n  {}:4: not TOML", file.display())), "{told}");
    assert_eq!(epoch(&world), 2);
}

#[test]
fn an_unconfirmed_reload_is_rolled_back_and_a_confirmed_one_stays() {
    let world = world();
    let _edge = world.run(|_| {});
    let idle = "entente: no reload waits to be confirmed\n";
    assert_eq!(ctl_ends(&world, 1, &["confirm"]), idle);
    world.write(&format!("{}{FABRIKAM}", text(&world)));
    let told = ctl_ends(&world, 0, &["reload", "--confirm-within", "5s"]);
    assert!(told.ends_with(" unless `entente ctl confirm` comes\n"), "{told}");
    let status = ctl_ends(&world, 0, &["status"]);
    assert!(status.contains("\nunconfirmed  epoch 2: rolled back in "), "{status}");
    let told = ctl_ends(&world, 1, &["reload"]);
    assert_eq!(
        told,
        "entente: epoch 2 waits to be confirmed; confirm it, or let it be rolled back, first\n"
    );
    assert!(within(|| epoch(&world) == 3), "{}", world.logged());
    let status = || ctl_ends(&world, 0, &["status"]);
    assert!(status().contains("partners     0 listed\n"), "{}", status());
    let counted = "reloads      1 accepted, 1 refused, 1 rolled back\n";
    assert!(within(|| status().contains(counted)), "{}", status());
    assert!(world.logs("not confirmed in time: rolled back"), "{}", world.logged());
    let rolled_back = "entente_control_reloads_total{result=\"rolled_back\"} 1\n";
    assert!(world.ask("/metrics").contains(rolled_back));

    ctl_ends(&world, 0, &["reload", "--confirm-within", "5s"]);
    assert_eq!(ctl_ends(&world, 0, &["confirm"]), "epoch 4 stays\n");
    sleep(Duration::from_secs(6));
    assert_eq!(epoch(&world), 4);
}

#[test]
fn partners_are_edited_in_the_file_and_in_force() {
    let world = world();
    let before = fs::read_to_string(world.file()).unwrap();
    let told = ctl_ends(&world, 0, &["partner", "add", "fabrikam.example"]);
    assert!(told.starts_with("added:\n  [[partner]]\n  domain = \"fabrikam.example\"\n"), "{told}");
    assert!(told.ends_with("no edge was asked: it is in force from the next start or reload on\n"));
    assert_eq!(fs::read_to_string(world.file()).unwrap(), format!("{before}{FABRIKAM}"));

    let _edge = world.run(|_| {});
    let told = ctl_ends(&world, 0, &["partner", "block", "fabrikam.example"]);
    assert!(told.contains("\nfabrikam.example is cut off: blocked\nepoch 2 is in force"), "{told}");
    let listed = ctl_ends(&world, 0, &["partner", "list"]);
    assert!(listed.lines().next().unwrap().starts_with("fabrikam.example  "), "{listed}");
    assert!(listed.contains(" blocked "), "{listed}");
    let told = ctl_ends(&world, 1, &["partner", "add", "fabrikam.example"]);
    assert!(told.contains("; `entente ctl partner allow fabrikam.example` ends that"), "{told}");
    let told = ctl_ends(&world, 0, &["partner", "allow", "fabrikam.example"]);
    assert!(told.contains("\nfabrikam.example gets in\nepoch 3 is in force"), "{told}");
    let told = ctl_ends(&world, 0, &["partner", "remove", "fabrikam.example"]);
    assert!(told.contains("epoch 4 is in force"), "{told}");
    assert_eq!(fs::read_to_string(world.file()).unwrap(), before, "byte by byte");
}

#[test]
fn a_refused_edit_leaves_the_file_byte_by_byte() {
    let world = world();
    let before = fs::read(world.file()).unwrap();
    for edit in [
        ["partner", "add", "contoso.example"],
        ["partner", "block", "contoso.example"],
        ["partner", "remove", "fabrikam.example"],
    ] {
        ctl_ends(&world, 1, &edit);
        assert_eq!(fs::read(world.file()).unwrap(), before);
    }
    world.write("[edge]\n");
    let told = ctl_ends(&world, 1, &["partner", "add", "fabrikam.example"]);
    assert!(told.contains("error[config-missing-key]"), "{told}");
    assert_eq!(fs::read_to_string(world.file()).unwrap(), "[edge]\n");
}

#[test]
fn an_edit_that_the_edge_refuses_says_that_it_is_written_and_not_in_force() {
    let world = world();
    let _edge = world.run(|_| {});
    world.write(&text(&world).replace("shards = 2", "shards = 1"));
    let told = ctl_ends(&world, 1, &["partner", "add", "fabrikam.example"]);
    let expected = format!(
        "entente: {} is written but not in force: only a restart changes edge.shards",
        world.file().display()
    );
    assert!(told.starts_with(&expected), "{told}");
    assert!(fs::read_to_string(world.file()).unwrap().ends_with(FABRIKAM));
}

#[test]
fn an_edit_of_a_copy_changes_neither_the_copy_nor_the_edge() {
    let world = world();
    let _edge = world.run(|_| {});
    let before = epoch(&world);
    let copy = world.directory.path().join("copy.toml");
    fs::copy(world.file(), &copy).unwrap();
    let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
    entente.arg("ctl").arg("--config").arg(&copy).args(["partner", "add", "fabrikam.example"]);
    let output = entente.env("RUST_BACKTRACE", "0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "entente: nothing is changed: the edge on {} reads {}, not {}\n",
        world.directory.path().join("admin.sock").display(),
        world.file().display(),
        copy.display()
    );
    assert_eq!(said(&output), expected);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(world.file()).unwrap());
    assert_eq!(epoch(&world), before);
}

#[test]
fn drain_ends_the_edge_in_order() {
    let world = world();
    let edge = world.run(|_| {});
    assert_eq!(ctl_ends(&world, 0, &["drain"]), "the drain has begun\n");
    let refused = ctl_ends(&world, 1, &["reload"]);
    assert!(
        refused.contains("the edge drains") || refused.contains("no edge listens"),
        "{refused}"
    );
    assert_eq!(exit_code(edge), Some(0));
    assert!(world.logs("\"message\":\"the edge has drained\""), "{}", world.logged());
    assert!(!world.directory.path().join("admin.sock").exists());
}

#[test]
fn a_candidate_is_asked_beside_the_policy_in_force_until_the_next_reload() {
    let world = world();
    let _edge = world.run(|_| {});
    let candidate = world.directory.path().join("candidate.toml");
    fs::write(&candidate, format!("{}{FABRIKAM}", text(&world))).unwrap();
    let told = ctl_ends(&world, 0, &["shadow", candidate.to_str().unwrap()]);
    let asked = format!("{} is asked beside the policy in force", candidate.display());
    assert!(told.starts_with(&asked), "{told}");
    let status = ctl_ends(&world, 0, &["status"]);
    let line = format!("candidate    {} is asked too, without effect\n", candidate.display());
    assert!(status.contains(&line), "{status}");
    assert!(status.contains("partners     0 listed\n"), "{status}");
    ctl_ends(&world, 0, &["reload"]);
    assert!(!ctl_ends(&world, 0, &["status"]).contains("candidate"));
    let told = ctl_ends(&world, 0, &["shadow", "--off"]);
    assert_eq!(told, "no candidate is asked any more\n");
    ctl_ends(&world, 2, &["shadow"]);
    fs::write(&candidate, "[edge]\n").unwrap();
    let told = ctl_ends(&world, 1, &["shadow", candidate.to_str().unwrap()]);
    assert!(told.contains("nothing was changed"), "{told}");
}
