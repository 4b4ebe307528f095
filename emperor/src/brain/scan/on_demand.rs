//! Which vassals are on demand, and where the emperor holds a socket for each (uWSGI `emperor-on-demand-extension`,
//! `-directory`, `-exec`; the first that is set counts). Set by the emperor's own configuration, never by a vassal file.

use std::{fs::File, io::Read, path::PathBuf, time::Duration};

use empery_control::keeper::{Answer, Ask, FileFacts};
use empery_lifecycle::ids::VassalName;

use super::super::{
    command::{self, Told},
    keeper_line::KeeperLine,
};

/// Longest address that is read, in bytes.
const ADDRESS_MAX_BYTES: u64 = 4096;

/// How long the command may take: every other file waits for it.
const EXEC_WITHIN: Duration = Duration::from_secs(5);

/// Where sockets of vassals on demand are.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct OnDemand {
    /// The file of this name, a vassal file's with EXT behind it, holds the socket's address.
    #[arg(id = "emperor-on-demand-extension", long, value_name = "EXT")]
    pub(crate) extension: Option<String>,
    /// Every vassal is on demand; its socket is DIR/NAME.socket.
    #[arg(id = "emperor-on-demand-directory", long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// A shell command whose first argument is the vassal file; its output is the address, none means "at once".
    #[arg(id = "emperor-on-demand-exec", long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
}

impl OnDemand {
    /// Where this vassal's socket is; None when it is to run from the start.
    pub(super) async fn address_of(&self, facts: &FileFacts, keeper: &KeeperLine) -> Option<String> {
        let found = match (&self.extension, &self.directory, &self.exec) {
            (Some(_), _, _) if facts.on_demand.is_none() => Ok(None),
            (Some(_), _, _) => written(&facts.name, keeper).await,
            (None, Some(directory), _) => Ok(Some(directory.join(socket_of(&facts.name)).display().to_string())),
            (None, None, Some(command)) => told(command, &facts.name).await,
            (None, None, None) => Ok(None),
        };
        found.unwrap_or_else(|why| {
            tracing::warn!(vassal = %facts.name, "it starts with the emperor: its on-demand socket is not known: {why}");
            None
        })
    }
}

/// The vassal's name without its suffix, as uWSGI cuts it.
fn socket_of(name: &VassalName) -> String {
    let stem = name.as_str().rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    format!("{stem}.socket")
}

async fn written(name: &VassalName, keeper: &KeeperLine) -> Result<Option<String>, String> {
    let opened = keeper.ask(Ask::OpenOnDemand { name: name.clone() }, Vec::new()).await;
    let Ok((Answer::Opened { .. }, fds)) = opened else {
        return Err(opened
            .err()
            .map_or_else(|| "the keeper answered something else".to_owned(), |error| error.to_string()));
    };
    let fd = fds.into_iter().next().ok_or("the keeper sent no descriptor")?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        File::from(fd).take(ADDRESS_MAX_BYTES).read_to_string(&mut text).map(|_| text)
    });
    let text = read.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
    Ok(first_line(&text))
}

async fn told(command: &str, name: &VassalName) -> Result<Option<String>, String> {
    let told = Told { command: command.to_owned(), name: Some(name.clone()), ..Told::default() };
    let output = command::run(told, EXEC_WITHIN).await?;
    Ok(first_line(&String::from_utf8_lossy(&output)))
}

fn first_line(text: &str) -> Option<String> {
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_in_a_directory_is_named_after_the_vassal_without_its_suffix() {
        let socket = |name: &str| socket_of(&VassalName::new(name).unwrap());
        assert_eq!((socket("shop.ini"), socket("a.b.ini")), ("shop.socket".to_owned(), "a.b.socket".to_owned()));
    }

    #[tokio::test]
    async fn a_command_is_told_the_name_as_it_is_and_its_first_line_is_the_address() {
        let name = VassalName::new("a b;$(touch x).ini").unwrap();
        assert_eq!(told("printf '/run/%s.sock\\nmore\\n'", &name).await, Ok(Some(format!("/run/{name}.sock"))));
        assert_eq!(told("true", &name).await, Ok(None));
        assert!(told("exit 3;", &name).await.unwrap_err().contains("exit status: 3"));
    }
}
