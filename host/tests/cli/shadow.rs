//! `swap --shadow`, where no host is needed to say what is wrong.

use crate::support::{Folder, closed_port};

#[test]
fn what_is_asked_wrongly_is_said_before_any_host_is() {
    let folder = Folder::new().trial("trial.wasm");
    for (words, why) in [
        ("--promote-if-equal", "--promote-if-equal wants to know of how many records: add --shadow N"),
        (
            "--promote-if-equal --shadow 5 --no-wait",
            "--promote-if-equal waits for what --shadow finds: leave --no-wait out",
        ),
        ("--shadow 0", "0 is not in 1.."),
        ("--shadow many", "invalid value 'many' for '--shadow <N>'"),
    ] {
        let said = folder.says(&format!("swap price trial.wasm {words}"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words}: {said:?}");
        assert!(said.err.contains(why), "{words}: {}", said.err);
    }
    let said = folder.says(&format!("swap price trial.wasm --shadow 5 --admin {}", closed_port()));
    assert!(said.code == 1 && said.err.contains("no host answers at "), "{said:?}");
    let said = folder.says("swap price gone.wasm --shadow 5");
    assert!(said.code == 2 && said.err.contains("gone.wasm is not there"), "{said:?}");
}
