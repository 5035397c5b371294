//! A guest that nobody uses.

use banger_e2e::Home;

#[test]
fn an_idle_guest_is_stopped_and_one_at_work_is_not() {
    let home = Home::new();
    let args = ["--wait", "system", "--memory", "512M", "--idle-stop", "8s"];
    let vm = home.create("sleeper", &args);
    // At work for longer than the period, without anybody's command.
    let work = "(timeout 15 sh -c 'while :; do :; done'; echo > /root/done) > /dev/null 2>&1 &";
    home.exec(&vm, &["sh", "-c", work]).expect_code(0);
    home.banger(["vm", "wait", "--for", "stopped", "--timeout", "300", &vm]).expect_code(0);
    let shown = home.show(&vm);
    assert_eq!(shown["ended"], serde_json::json!({"idle": 8}), "{shown}");
    assert_eq!(
        shown["history"].as_array().and_then(|all| all.last()).expect("it")["cause"],
        "idle"
    );
    let text = home.banger(["vm", "show", &vm]).expect_code(0).stdout;
    assert!(text.contains("idle for 8s") && text.contains("idle stop:"), "{text}");
    home.banger(["vm", "start", &vm]).expect_code(0);
    home.exec(&vm, &["cat", "/root/done"]).expect_code(0);
    home.banger(["vm", "delete", "-f", &vm]).expect_code(0);
    home.expect_nothing_left();
}
