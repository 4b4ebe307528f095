//! Certificates made by openssl(1), and clients that speak TLS: curl(1).

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    ground::Ground,
    process::{Finished, run, run_with_input},
    wait,
};

/// How long a first answer over TLS may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// A certificate with its key, `NAME.crt` and `NAME.key` in a directory of the story.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, readable by its owner only.
    pub key: PathBuf,
}

/// Makes a certificate for this host, signed by itself, or by `authority`; good for so many days from now.
///
/// # Errors
/// When openssl(1) is missing or refuses.
pub fn pair(ground: &Ground, name: &str, host: &str, authority: Option<&Pair>, days: u32) -> Result<Pair> {
    use std::os::unix::fs::PermissionsExt;
    let made = Pair { certificate: ground.path(&format!("{name}.crt")), key: ground.path(&format!("{name}.key")) };
    if let Some(directory) = made.key.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut command = openssl();
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout"]).arg(&made.key).arg("-out");
    command.arg(&made.certificate).args(["-subj", &format!("/C=IT/CN={host}")]);
    command.args(["-addext", &format!("subjectAltName=DNS:{host}"), "-days", &days.to_string()]);
    if let Some(authority) = authority {
        command.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    run(command)?.success().context("openssl req")?;
    std::fs::set_permissions(&made.key, std::fs::Permissions::from_mode(0o600))?;
    Ok(made)
}

/// A pair whose certificate was good in 2020.
///
/// # Errors
/// When openssl(1) is missing or refuses.
pub fn expired(ground: &Ground, name: &str, host: &str) -> Result<Pair> {
    let fresh = pair(ground, name, host, None, 1)?;
    let authority = ground.path("authority");
    std::fs::create_dir_all(&authority)?;
    std::fs::write(authority.join("index.txt"), "")?;
    let settings = ground.write(
        "authority/settings",
        &format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = {0}/index.txt\nnew_certs_dir = {0}\nrand_serial = yes\n\
             default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n",
            authority.display()
        ),
    )?;
    let request = authority.join("request");
    let mut asking = openssl();
    asking.args(["req", "-new", "-subj", &format!("/CN={host}"), "-key"]).arg(&fresh.key).arg("-out").arg(&request);
    run(asking)?.success().context("openssl req")?;
    let mut signing = openssl();
    signing.args([
        "ca",
        "-batch",
        "-notext",
        "-selfsign",
        "-startdate",
        "20200101000000Z",
        "-enddate",
        "20200201000000Z",
    ]);
    signing.arg("-config").arg(&settings).arg("-keyfile").arg(&fresh.key).arg("-in").arg(&request);
    signing.arg("-out").arg(&fresh.certificate);
    run(signing)?.success().context("openssl ca")?;
    Ok(fresh)
}

/// openssl(1), not configured by whoever runs the stories.
#[must_use]
pub fn openssl() -> Command {
    let mut command = Command::new("openssl");
    command.env("OPENSSL_CONF", "/dev/null");
    command
}

/// A command line of curl(1) that believes this certificate and calls `https://HOST:PORT/PATH` on loopback.
#[must_use]
pub fn curl(trusted: &Path, host: &str, port: u16, path: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(trusted);
    command.args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}{path}")]);
    command
}

/// What curl(1) gets for `path`.
///
/// # Errors
/// When it is not answered, or the certificate is not the trusted one.
pub fn get(trusted: &Path, host: &str, port: u16, path: &str, arguments: &[&str]) -> Result<String> {
    let mut command = curl(trusted, host, port, path);
    command.args(arguments);
    run(command)?.success()
}

/// Waits for the first answer.
///
/// # Errors
/// With the last failure.
pub fn answers(trusted: &Path, host: &str, port: u16) -> Result<String> {
    wait::until_ok("a first answer over TLS", ANSWERED_WITHIN, || get(trusted, host, port, "/", &[]))
}

/// The serial number of the certificate that is shown for a name.
///
/// # Errors
/// When there is no handshake.
pub fn serial(host: &str, port: u16) -> Result<String> {
    let Finished { stdout, .. } = s_client(port, &["-servername", host])?;
    let begin = stdout.find("-----BEGIN CERTIFICATE-----").context("no certificate is shown")?;
    let mut command = openssl();
    command.args(["x509", "-noout", "-serial"]);
    run_with_input(command, &stdout.as_bytes()[begin..])?.success()
}

/// The serial number of a certificate file.
///
/// # Errors
/// When it is none.
pub fn serial_of(certificate: &Path) -> Result<String> {
    let mut command = openssl();
    command.args(["x509", "-noout", "-serial", "-in"]).arg(certificate);
    run(command)?.success()
}

/// `openssl s_client` that connects and hangs up.
///
/// # Errors
/// When it cannot be started.
pub fn s_client(port: u16, arguments: &[&str]) -> Result<Finished> {
    let mut command = openssl();
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    run_with_input(command, b"")
}
