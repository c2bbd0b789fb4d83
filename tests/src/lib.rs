//! The harness of the flows: a gateway of one's own on a fresh folder, and the two kinds of client that it has.
//!
//! The gateway is the built program `landbridge`, started as a process; the clients are blocking and speak to it as a
//! sender and an app would. Every port comes from the system.

use gateway::client;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The built program, beside this test binary in the target folder.
pub fn landbridge() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let program = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join("landbridge");
    assert!(program.exists(), "{} is not built: run `cargo build --workspace` first", program.display());
    program
}

/// Runs a command of the program to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(landbridge()).args(arguments).stdin(Stdio::null()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A working folder as `landbridge init` writes it, with every port left to the system.
pub struct Folder {
    path: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let path = temporary.path().join("gateway");
        let (code, _, errors) = run(&["init", path.to_str().expect("UTF-8 path")]);
        assert_eq!(code, 0, "init: {errors}");
        let folder = Self { path, _temporary: temporary };
        folder.edit(|line| {
            if line.trim_start().starts_with("listen =") && line.contains("127.0.0.1:") {
                "listen = \"127.0.0.1:0\"".into()
            } else {
                line.into()
            }
        });
        folder
    }

    /// Gives the HTTPS door a port that is free now, and a base URL that says so, for clients that follow absolute links.
    pub fn publish(&self) -> String {
        let port = free_address().port();
        let in_https = std::cell::Cell::new(false);
        self.edit(|line| {
            if line.starts_with('[') {
                in_https.set(line.starts_with("[https]"));
            }
            match line.split('=').next().map(str::trim) {
                Some("listen") if in_https.get() => format!("listen = \"127.0.0.1:{port}\""),
                _ => line.replace("https://localhost:8443", &format!("https://localhost:{port}")),
            }
        });
        format!("https://localhost:{port}/fhir")
    }

    /// Changes the configuration line by line.
    pub fn edit(&self, change: impl Fn(&str) -> String) {
        let file = self.path.join("landbridge.toml");
        let text = std::fs::read_to_string(&file).expect("init writes it");
        let lines: Vec<String> = text.lines().map(change).collect();
        std::fs::write(&file, lines.join("\n") + "\n").expect("it can be written");
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> String {
        self.path.join("landbridge.toml").to_str().expect("UTF-8 path").to_owned()
    }

    /// Runs a command on this folder's configuration.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let config = self.config();
        let mut all = arguments.to_vec();
        all.extend(["--config", &config]);
        run(&all)
    }

    /// A development token.
    pub fn token(&self, scope: &str, patient: Option<&str>) -> String {
        let mut arguments = vec!["token", "--scope", scope];
        if let Some(patient) = patient {
            arguments.extend(["--patient", patient]);
        }
        let (code, token, errors) = self.run(&arguments);
        assert_eq!(code, 0, "token: {errors}");
        token.trim().to_owned()
    }

    /// The journal, a line a frame.
    pub fn journal(&self) -> Vec<Value> {
        let (code, lines, errors) = self.run(&["journal", "list", "--ndjson"]);
        assert_eq!(code, 0, "journal list: {errors}");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Starts the gateway and waits until all doors are open.
    pub fn serve(&self) -> Gateway {
        self.serve_with(&[])
    }

    /// Starts it with further arguments.
    pub fn serve_with(&self, arguments: &[&str]) -> Gateway {
        self.serve_under(&self.config(), arguments)
    }

    /// Starts it under another configuration in this folder.
    pub fn serve_under(&self, config: &str, arguments: &[&str]) -> Gateway {
        let log = self.path.join("serve.log");
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child = Command::new(landbridge())
            .args(["serve", "--config", config])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("its output can be read");
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let _ = child.wait();
            panic!("not ready: {}", std::fs::read_to_string(&log).unwrap_or_default());
        };
        assert_eq!(ready["ready"], true);
        Gateway { child, ready, folder: self.path.clone(), output }
    }

    /// All that the gateway logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path.join("serve.log")).unwrap_or_default()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// A gateway that runs. Dropped, it is killed.
pub struct Gateway {
    child: Child,
    ready: Value,
    folder: PathBuf,
    output: BufReader<std::process::ChildStdout>,
}

impl Gateway {
    /// The address of a door: `https`, `mllp.main`, `observe`.
    pub fn address(&self, door: &str) -> SocketAddr {
        self.ready[door].as_str().expect("the ready line names the door").parse().expect("an address")
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB (Linux).
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs on Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// `kill -9`: no drain, no goodbye.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    /// SIGTERM, and the exit status after the drain. Panics if it printed a second line.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        let status = self.child.wait().expect("it ends");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output can be read");
        assert_eq!(rest, "", "one line on standard output and no more");
        status
    }

    /// SIGTERM alone.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill is there");
        assert!(status.success());
    }

    /// A sender on the MLLP door with the client certificate of this name.
    pub fn sender(&self, name: &str) -> Sender {
        self.try_sender(Some(name)).expect("the door opens")
    }

    pub fn try_sender(&self, name: Option<&str>) -> io::Result<Sender> {
        Sender::connect(self.address("mllp.main"), &self.folder, name)
    }

    /// An app with a bearer token.
    pub fn app(&self, token: &str) -> App {
        App(client::App { address: self.address("https"), folder: self.folder.clone(), token: Some(token.to_owned()), certificate: None })
    }

    /// An HTTPS client without a token, perhaps with a client certificate.
    pub fn stranger(&self, certificate: Option<&str>) -> App {
        App(client::App {
            address: self.address("https"),
            folder: self.folder.clone(),
            token: None,
            certificate: certificate.map(str::to_owned),
        })
    }

    /// A page of the plain `observe` door.
    pub fn observe(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("observe")).expect("the door opens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
        let answer = client::read_answer(&mut stream).expect("it answers");
        (answer.status, String::from_utf8(answer.body).expect("UTF-8"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of ours that runs beside the gateway, as `edge` does. Dropped, it is killed.
pub struct Beside {
    child: Child,
    ready: Value,
    _output: BufReader<std::process::ChildStdout>,
}

impl Beside {
    /// Starts it and waits for its ready line; its log goes to this file.
    pub fn start(arguments: &[&str], log: &Path) -> Self {
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let started = Command::new(landbridge()).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn();
        let mut child = started.expect("the program starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("its output can be read");
        let ready = serde_json::from_str(&line);
        Self {
            child,
            ready: ready.unwrap_or_else(|_| panic!("not ready: {}", std::fs::read_to_string(log).unwrap_or_default())),
            _output: output,
        }
    }

    pub fn address(&self, door: &str) -> SocketAddr {
        self.ready[door].as_str().expect("the ready line names the door").parse().expect("an address")
    }

    /// SIGTERM, and the exit status.
    pub fn stop(mut self) -> ExitStatus {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill is there").success());
        self.child.wait().expect("it ends")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An MLLP line in the clear: sends one message, and waits for its reply.
pub fn say_plainly(stream: &mut TcpStream, message: &[u8]) -> io::Result<String> {
    stream.write_all(&[&[0x0b], message, &[0x1c, 0x0d]].concat())?;
    let mut heard = Vec::new();
    while !heard.ends_with(&[0x1c, 0x0d]) {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => heard.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

pub use client::{Answer, Kept, Sender};

/// A clinical app, one connection a request. The door must open and answer.
pub struct App(client::App);

impl App {
    pub fn get(&self, path: &str) -> Answer {
        self.0.get(path).expect("it answers")
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.0.request(method, path, headers, body).expect("it answers")
    }

    pub fn keep(&self) -> Kept {
        self.0.keep().expect("the door opens")
    }

    /// The resources of a search, over all its pages.
    pub fn search(&self, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let answer = self.get(&path);
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
            let bundle = answer.json();
            for entry in bundle["entry"].as_array().into_iter().flatten() {
                if entry["search"]["mode"] == "match" {
                    found.push(entry["resource"].clone());
                }
            }
            let link = bundle["link"].as_array().into_iter().flatten().find(|link| link["relation"] == "next");
            next = link.and_then(|link| link["url"].as_str()).map(|url| url[url.find("/fhir").expect("an absolute link")..].to_owned());
        }
        found
    }
}
