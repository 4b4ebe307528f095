//! A real nginx in front, with Debian's own parameter files.

use std::{fmt::Write as _, path::Path, process::Command, time::Duration};

use anyhow::{Result, bail};

use crate::{
    ground::{self, Ground, Skip},
    http,
    process::Spawned,
    wait,
};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Spawned,
    /// Where it listens.
    pub port: u16,
}

impl Nginx {
    /// nginx on a port of the story's, with `location` blocks given as text.
    ///
    /// # Errors
    /// When it does not start; [`Skip`] when it is not installed.
    pub fn start(ground: &Ground, locations: &str) -> Result<Nginx> {
        let port = ground.port()?;
        Nginx::start_with(ground, port, &format!("server {{\n listen 127.0.0.1:{port};\n{locations}\n}}\n"))
    }

    /// nginx with an example's server block; the addresses in it are replaced as told.
    ///
    /// # Errors
    /// When it does not start; [`Skip`] when it is not installed.
    pub fn from_example(ground: &Ground, name: &str, replaced: &[(&str, String)]) -> Result<Nginx> {
        let mut text = std::fs::read_to_string(ground::example("nginx").join(name))?;
        for (from, to) in replaced {
            if !text.contains(from) {
                bail!("the example {name} has no {from:?}");
            }
            text = text.replace(from, to);
        }
        let port = ground.port()?;
        Nginx::start_with(ground, port, &text.replace("listen 80;", &format!("listen 127.0.0.1:{port};")))
    }

    fn start_with(ground: &Ground, port: u16, server: &str) -> Result<Nginx> {
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else { bail!(Skip("nginx is not installed".to_owned())) };
        let home = ground.path(&format!("nginx-{port}"));
        std::fs::create_dir_all(&home)?;
        let at = home.display();
        let mut text = String::new();
        // Its workers drop to nobody when it is root; the story's sockets are made for everybody.
        if nix::unistd::geteuid().is_root() {
            text.push_str("user nobody nogroup;\n");
        }
        writeln!(text, "daemon off; master_process on; worker_processes 1; pid {at}/pid; error_log {at}/error.log;")?;
        writeln!(text, "events {{ worker_connections 512; }}")?;
        writeln!(
            text,
            "http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; uwsgi_temp_path {at}/uwsgi;"
        )?;
        writeln!(text, "fastcgi_temp_path {at}/fastcgi; scgi_temp_path {at}/scgi; server_tokens off;")?;
        let mut server = server.to_owned();
        for params in ["uwsgi_params", "fastcgi_params", "scgi_params"] {
            server = server.replace(&format!("include {params};"), &format!("include /etc/nginx/{params};"));
        }
        writeln!(text, "{server}\n}}")?;
        let config = ground.write(&format!("nginx-{port}/nginx.conf"), &text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(config).arg("-p").arg(&home).args(["-e", "stderr"]);
        let process = ground.start("nginx", command)?;
        wait::until_ok("nginx to listen", Duration::from_secs(10), || Ok(http::get(port, "/")?))
            .map_err(|error| error.context(process.output()))?;
        Ok(Nginx { process, port })
    }

    /// Has it read its configuration again: new workers beside the old ones.
    pub fn reload(&self) {
        self.process.signal(nix::sys::signal::Signal::SIGHUP);
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(mut self) -> Result<()> {
        self.process.terminated(Duration::from_secs(10)).map(|_| ())
    }
}
