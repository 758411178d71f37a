//! Files that are no log, or no good one: each gets one line, and none is made worse.

use super::scene::{Scene, deliver, open, progress, settings, taken};
use crate::transport::{
    Fault, Link, Progress,
    local::{Durability, LocalLink, LocalLog},
};
use std::{fs, path::Path};

fn refused(folder: &Path) -> String {
    let words = open(folder).unwrap_err().to_string();
    assert!(!words.contains('\n'), "{words}");
    words
}

#[test]
fn all_who_open_a_new_log_at_once_find_it() {
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| open(folder.path()).unwrap());
            }
        });
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    fs::write(&file, "").unwrap();
    assert!(refused(&file.join("state")).contains("state cannot be made"));
    // Not even the superuser makes a file where a folder is.
    fs::create_dir(folder.path().join("log.db")).unwrap();
    assert!(refused(folder.path()).contains("the log needs a folder that it may write"));
}

#[test]
fn damage_is_told_with_its_place_and_passed_by_hand() {
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a", "b"]);
    scene.come("in", 0, &["c"]);
    let damage = "UPDATE batch SET data = CAST(substr(data, 1, length(data) - 1) || x'07' AS BLOB) WHERE last = 1";
    scene.log.desk().write(|tx| Ok(tx.execute(damage, [])?)).unwrap();
    let (mut link, _) = scene.link(settings());
    let Err(Fault::Fatal(words)) = link.take(9, std::time::Duration::ZERO) else { panic!("it was taken") };
    assert!(words.contains("in/0: the records up to offset 1 are damaged (its checksum is wrong)"), "{words}");
    link.release(super::scene::partition(0, 0), crate::transport::NextOffset(2)).unwrap();
    assert_eq!(taken(&mut link, 9), "0/0@2=c 0/0|3");
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_half_written() {
    let scene = Scene::with(&["in", "out"]);
    scene.come("in", 0, &["a"]);
    let (mut link, _) = scene.link(settings());
    scene.log.scribe().unwrap().limit_growth(Some(8));
    let large = "x".repeat(100_000);
    for _ in 0..2 {
        let fault = deliver(&mut link, &large, &progress(&[(0, 0, 1)])).unwrap_err();
        assert!(matches!(&fault, Fault::Unavailable(why) if why.contains("the disk is full")), "{fault:?}");
        assert_eq!(link.recover().unwrap().starts, progress(&[(0, 0, 0)]));
        assert_eq!(scene.values("out"), "0: ");
    }
    // What there is room for is written beside it.
    deliver(&mut link, "small", &Progress::default()).unwrap();
    scene.log.scribe().unwrap().limit_growth(None);
    deliver(&mut link, &large, &progress(&[(0, 0, 1)])).unwrap();
    assert_eq!(scene.values("out"), format!("0: small {large}"));
}

#[test]
fn what_was_committed_is_there_after_the_log_was_closed_whatever_it_waits_for() {
    for durability in [Durability::Fsync, Durability::Os] {
        let Scene { log, folder } = Scene::with(&["in", "out"]);
        drop(log);
        let log = LocalLog::open_with(folder.path(), durability).unwrap();
        let mut link = LocalLink::new(log.clone(), settings());
        link.recover().unwrap();
        deliver(&mut link, "a", &Progress::default()).unwrap();
        // A worker may end last.
        drop(log);
        drop(link);
        assert!(!folder.path().join("log.db-wal").exists(), "the log was not closed");
        let log = open(folder.path()).unwrap();
        assert_eq!(Scene { log, folder }.values("out"), "0: a");
    }
}

#[test]
fn the_library_is_one_without_the_known_defect_of_its_wal() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}
