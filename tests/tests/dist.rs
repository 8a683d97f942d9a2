//! What `make dist` makes, unpacked and run: the tarball under Flume's own launcher, the Debian package with its service.
//! The program in it is that of this test's profile; in a release it is the released one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use millstream_tests::{Process, millstream};
use tempfile::TempDir;

/// Both files, made once for all tests.
struct Dist {
    dir: TempDir,
}

// === impl Dist ===

impl Dist {
    fn made() -> &'static Self {
        static DIST: OnceLock<Dist> = OnceLock::new();
        DIST.get_or_init(Self::make)
    }

    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(packaging().join("make-dist"));
        let output = command.arg(millstream()).arg(dir.path()).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        succeeded(&output);
        Self { dir }
    }

    /// The one file whose name ends so.
    fn file(&self, end: &str) -> PathBuf {
        let files = fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path());
        let mut found = files.filter(|file| file.to_string_lossy().ends_with(end));
        let file = found.next().expect(end);
        assert!(found.next().is_none());
        file
    }
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging")
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The tarball, unpacked where a path has a space in it.
struct Home {
    _dir: TempDir,
    top: PathBuf,
}

// === impl Home ===

impl Home {
    fn unpacked() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("my flume");
        fs::create_dir(&place).unwrap();
        let tarball = Dist::made().file(".tar.gz");
        succeeded(&Command::new("tar").arg("xzf").arg(&tarball).arg("-C").arg(&place).output().unwrap());
        let name = tarball.file_name().unwrap().to_string_lossy().into_owned();
        let top = place.join(name.strip_suffix(".tar.gz").unwrap());
        Self { _dir: dir, top }
    }

    fn flume_ng(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.top.join("bin/flume-ng"));
        command.args(arguments).current_dir(&self.top).env_remove("RUST_LOG").env_remove("FLUME_HOME");
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.flume_ng(arguments).output().unwrap()
    }
}

#[track_caller]
fn refused(output: &Output, code: i32, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(told), "{stderr}");
}

/// Ten events into the log.
const SEQ: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = ${sys:events}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

#[test]
fn an_agent_runs_under_flumes_launcher_with_flumes_options() {
    let home = Home::unpacked();
    fs::write(home.top.join("conf/seq.properties"), SEQ).unwrap();
    fs::write(home.top.join("conf/flume-env.sh"), "JAVA_OPTS=\"-Xmx1g -Devents=10 -Dother=*\"\n").unwrap();
    let arguments =
        ["agent", "--conf", "conf", "-Xmx100m", "-C", "my.jar", "-f", "conf/seq.properties", "--name", "a1"];
    let agent = Process::spawn(home.flume_ng(&arguments));
    agent.until("-Xmx100m has no effect: there is no Java machine");
    agent.until("-C has no effect: components are built in");
    agent.until("body: 39"); // the ninth, in hexadecimal
    agent.stop().expect_code(0);
    // The command line wins over flume-env.sh, which is found without --conf too.
    let agent = Process::spawn(home.flume_ng(&["agent", "-Devents=11", "-f", "conf/seq.properties", "-n", "a1"]));
    agent.until("body: 31 30");
    agent.stop().expect_code(0);
}

#[test]
fn the_launcher_answers_as_flumes_does_and_with_exit_codes() {
    let home = Home::unpacked();
    let version = succeeded(&home.output(&["version"]));
    assert_eq!(version, concat!("Millstream ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(succeeded(&home.output(&["help"])).contains("--conf,-c <conf>"));
    refused(&home.output(&["agnet"]), 1, "Error: Unknown or unspecified command 'agnet'");
    refused(&home.output(&[]), 1, "Error: Unknown or unspecified command ''");
    refused(&home.output(&["tool", "fcintegritytool"]), 1, "Error: there are no tools here");
    refused(&home.output(&["agent", "--conf"]), 1, "Error: Option --conf requires an argument");
    refused(&home.output(&["agent", "-n", "a1"]), 64, "--conf-file");
    refused(&home.output(&["agent", "-n", "a1", "-f", "none"]), 66, "none");
    refused(&home.output(&["avro-client", "-H", "h", "-p", "0x"]), 64, "0x");
    let shown = succeeded(&home.output(&["agent", "-d", "-n", "a b", "-f", "x", "-Dk=v"]));
    assert_eq!(shown, format!("{} agent -n a b -f x -Dk=v\n", home.top.join("bin/millstream").display()));
    // Also by a link, and with another FLUME_HOME.
    let link = home.top.join("link");
    std::os::unix::fs::symlink(home.top.join("bin/flume-ng"), &link).unwrap();
    let linked = Command::new(link).arg("version").env("FLUME_HOME", "/none").output().unwrap();
    assert_eq!(succeeded(&linked), version);
}

#[test]
fn the_template_of_a_configuration_can_be_run() {
    let home = Home::unpacked();
    let mut check = Command::new(home.top.join("bin/millstream"));
    let output = check.arg("check").arg(home.top.join("conf/flume-conf.properties.template")).output().unwrap();
    assert!(succeeded(&output).contains("honoured"), "{output:?}");
    let readme = fs::read_to_string(home.top.join("README")).unwrap();
    assert!(readme.starts_with(concat!("Millstream ", env!("CARGO_PKG_VERSION"), "\n")), "{readme}");
    assert!(home.top.join("docs/compat.md").exists());
    assert!(home.top.join("LICENSE").exists() && home.top.join("conf/flume-env.sh.template").exists());
}

/// The Debian package, unpacked.
#[track_caller]
fn package() -> TempDir {
    succeeded(&Command::new("dpkg-deb").arg("--version").output().expect("dpkg-deb is needed: .ci/tools installs it"));
    let dir = tempfile::tempdir().unwrap();
    let unpacked = Command::new("dpkg-deb").arg("-R").arg(Dist::made().file(".deb")).arg(dir.path()).output();
    succeeded(&unpacked.unwrap());
    dir
}

#[test]
fn the_package_has_program_service_and_configuration() {
    let package = package();
    let path = |name: &str| package.path().join(name);
    let version = Command::new(path("usr/bin/millstream")).arg("version").output().unwrap();
    assert_eq!(succeeded(&version), concat!("Millstream ", env!("CARGO_PKG_VERSION"), "\n"));
    let launcher = Command::new(path("usr/lib/millstream/bin/flume-ng")).arg("version").output().unwrap();
    assert_eq!(succeeded(&launcher), succeeded(&version), "its link leads to the program");
    let mut check = Command::new(path("usr/bin/millstream"));
    succeeded(&check.arg("check").arg(path("etc/millstream/flume.properties")).output().unwrap());
    for conffile in fs::read_to_string(path("DEBIAN/conffiles")).unwrap().lines() {
        let mode = fs::metadata(package.path().join(conffile.trim_start_matches('/'))).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{conffile}: only root writes it");
    }
    let control = fs::read_to_string(path("DEBIAN/control")).unwrap();
    assert!(["@VERSION@", "@ARCH@", "@SIZE@", "@GLIBC@"].iter().all(|gap| !control.contains(gap)), "{control}");
    assert!(control.contains("libc6 (>= 2."), "{control}");
    for script in ["postinst", "prerm", "postrm"] {
        succeeded(&Command::new("sh").arg("-n").arg(path("DEBIAN").join(script)).output().unwrap());
    }
    assert!(fs::read_to_string(path("usr/share/bash-completion/completions/millstream")).unwrap().contains("agent"));
    assert!(path("usr/share/doc/millstream/compat.md").exists());
    let help = succeeded(&Command::new(path("usr/bin/millstream")).arg("--help").output().unwrap());
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"check"), "{help}");
    for command in commands {
        let page = format!("usr/share/man/man1/millstream-{command}.1.gz");
        assert!(path(&page).exists(), "{page}");
    }
    assert!(path("usr/share/man/man1/millstream.1.gz").exists());
}

#[test]
fn the_service_is_one_that_systemd_accepts() {
    let package = package();
    let unit = fs::read_to_string(package.path().join("usr/lib/systemd/system/millstream-agent.service")).unwrap();
    let version = Command::new("systemd-analyze").arg("--version").output();
    succeeded(&version.expect("systemd-analyze is needed: .ci/tools installs it"));
    // The program is not installed here: the unit is looked at with the one that was unpacked.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("millstream-agent.service");
    let program = package.path().join("usr/bin/millstream").display().to_string();
    fs::write(&file, unit.replace("/usr/bin/millstream", &program)).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let about: Vec<&str> = stderr.lines().filter(|line| line.contains("millstream")).collect();
    assert!(output.status.success() && about.is_empty(), "{stderr}");
    // What it would find wrong is found.
    fs::write(&file, unit.replace("Type=exec", "Typo=exec").replace("/usr/bin/millstream", &program)).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Typo"), "{output:?}");
}

#[test]
fn the_command_of_the_service_runs_with_its_variables() {
    let package = package();
    let unit = fs::read_to_string(package.path().join("usr/lib/systemd/system/millstream-agent.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let program = package.path().join("usr/bin/millstream").display().to_string();
    let config = package.path().join("etc/millstream/flume.properties");
    fs::write(&config, SEQ).unwrap();
    let line = line.replace("/usr/bin/millstream", &program);
    let line = line.replace("/etc/millstream/flume.properties", &config.display().to_string());
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {line}")).env_remove("RUST_LOG");
    command.env("AGENT_NAME", "a1").env("AGENT_ARGUMENTS", "-Devents=10 -i 5").env("HOME", package.path());
    let agent = Process::spawn(command);
    agent.until("agent is ready");
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    agent.until("configuration read again, nothing changed");
    agent.stop().expect_code(0);
}

#[test]
fn the_same_program_gives_the_same_files() {
    let (first, second) = (Dist::made(), Dist::make());
    for end in [".tar.gz", ".deb"] {
        assert!(fs::read(first.file(end)).unwrap() == fs::read(second.file(end)).unwrap(), "{end}");
    }
}
