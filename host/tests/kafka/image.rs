//! The image, as `compose/Dockerfile` lays it out, without an engine that builds it: a folder with the host and the
//! libraries that it needs, read-only, in which it runs as nobody in particular.

use crate::{
    command::MILLSTREAM,
    support::{Host, Kafka, guests, read_all, unique},
    swapping::get,
};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Those of the C library and the compiler, which the image that it begins with has.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];

/// From here on nothing can be written to but the state folder, and then nobody can make it otherwise.
const ENTER: &str = r#"
mount --bind "$ROOT" "$ROOT" && mount --bind "$STATE" "$ROOT/var/lib/millstream" &&
mount -o remount,bind,ro "$ROOT" && mount --rbind /proc "$ROOT/proc" &&
exec unshare --user --map-user="$USER_ID" --map-group="$USER_ID" --root="$ROOT" --wd="$WORKDIR" "$@"
"#;

/// What the Dockerfile says of the stage `host`.
struct Image {
    user: String,
    folder: String,
    state: String,
    environment: Vec<(String, String)>,
    health: Vec<String>,
    command: Vec<String>,
}

impl Image {
    fn read() -> Image {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/Dockerfile");
        let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
        let stage = text.split(" AS host\n").nth(1).unwrap().split("\nFROM ").next().unwrap();
        let said = |word: &str| {
            let line = stage.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {word} in {stage}")).to_owned()
        };
        let words = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
        let environment = said("ENV").split_whitespace().map(|pair| pair.split_once('=').unwrap()).map(owned).collect();
        Image {
            user: said("USER").split(':').next().unwrap().to_owned(),
            folder: said("WORKDIR"),
            state: said("VOLUME"),
            environment,
            health: words(said("HEALTHCHECK").split_once(" CMD ").unwrap().1),
            command: [words(&said("ENTRYPOINT")), words(&said("CMD"))].concat(),
        }
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A container, so to say.
struct Container {
    image: Image,
    folder: TempDir,
}

impl Container {
    fn new(manifest: &str, modules: &[&str]) -> Container {
        let (mut image, folder) = (Image::read(), tempfile::tempdir().unwrap());
        assert_eq!(image.state, "/var/lib/millstream");
        // Others use this machine's ports.
        for (_, value) in &mut image.environment {
            if let Some((host, _)) = value.rsplit_once(':') {
                let free = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
                *value = format!("{host}:{free}");
            }
        }
        let container = Container { image, folder };
        container.put(Path::new(MILLSTREAM), "/usr/local/bin/millstream");
        for library in libraries() {
            container.put(&library, library.to_str().unwrap());
        }
        for module in modules {
            container.put(&guests().join(module), &format!("{}/{module}", container.image.folder));
        }
        fs::write(container.inside(&format!("{}/millstream.yaml", container.image.folder)), manifest).unwrap();
        for empty in ["proc", "tmp", "var/lib/millstream"] {
            fs::create_dir_all(container.inside(empty)).unwrap();
        }
        let state = container.folder.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
        container
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    fn put(&self, file: &Path, path: &str) {
        let to = self.inside(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }

    fn variable(&self, name: &str) -> &str {
        &self.image.environment.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// These words in it.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", ENTER, "sh"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("ROOT", self.inside(""))
            .env("STATE", self.state())
            .env("USER_ID", &self.image.user)
            .env("WORKDIR", &self.image.folder)
            .envs(self.image.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn says(&self, words: &[String]) -> Output {
        self.command(words).output().unwrap()
    }
}

/// What the host is linked to, where it lies here.
fn libraries() -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(MILLSTREAM).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths: Vec<_> = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    assert!(!paths.is_empty(), "{text}");
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(LIBRARIES.contains(&name) || name.starts_with("ld-linux"), "the image has no {name}");
    }
    paths
}

#[test]
fn it_runs_as_nobody_with_nothing_to_write_to_but_its_state() {
    let (kafka, name) = (Kafka::shared(), unique("image"));
    let manifest = format!(
        "
name: {name}
state: ${{STATE_DIRECTORY}}
kafka: {{brokers: '{}'}}
sources: {{numbers: {{module: numbers.wasm, output: {name}-numbers, every: 10ms}}}}
stages: {{copy: {{module: upper.wasm, input: {name}-numbers, output: {name}-copied}}}}
",
        kafka.address
    );
    let container = Container::new(&manifest, &["numbers.wasm", "upper.wasm"]);
    let start = || {
        let mut command = container.command(&container.image.command);
        Host::start(command.stdout(Stdio::null()), container.folder.path().join("log"))
    };
    let mut host = start();
    let healthy = || container.says(&container.image.health);
    host.until("it is healthy", Duration::from_secs(60), || healthy().status.success());
    assert_eq!(String::from_utf8(healthy().stdout).unwrap(), "ready\n");
    // From without, and without a token.
    let open = container.variable("MILLSTREAM_METRICS").replace("0.0.0.0", "127.0.0.1");
    assert_eq!(get(&open, "/health/ready").0, 200);
    let copied = || read_all(&kafka, &format!("{name}-copied")).len();
    host.until("records pass", Duration::from_secs(60), || copied() > 100);
    host.signal("TERM");
    let status = host.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}:\n{}", host.said());
    assert!(container.state().join("instance").exists() && container.state().join("modules").exists());
    // It goes on under its name.
    let before = copied();
    let mut host = start();
    host.until("more records pass", Duration::from_secs(60), || copied() > before + 10);
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
    assert!(!healthy().status.success(), "nobody is healthy after the end");
}

#[test]
fn its_files_are_read_only() {
    let container = Container::new("", &["upper.wasm"]);
    for path in ["/pipeline", "/tmp", "/usr/local/bin", ""] {
        let manifest = format!(
            "{{name: none, state: {path}/state, stages: {{copy: {{module: upper.wasm, input: in, output: out}}}}}}"
        );
        fs::write(container.inside("/pipeline/millstream.yaml"), manifest).unwrap();
        let output = container.says(&container.image.command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Read-only file system"), "{path}: {said}");
    }
}
