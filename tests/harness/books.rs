//! Two books for every request (invariant N1): the clients number each and note what came of it, the app `books` notes
//! each it ran, and in the end the two are compared. Nothing may be lost, run twice, or answered with another's answer.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    ground::Ground,
    http::{Ask, Connection, Failure, Target},
    load::Mode,
    uwsgi, wait,
};

/// Longest wait of a client for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// By which way requests come in.
#[derive(Debug, Clone)]
pub struct Door {
    /// What it is called in the account.
    pub name: &'static str,
    /// Where.
    pub target: Target,
    /// How.
    pub speech: Speech,
    /// So many clients at a time.
    pub clients: usize,
    /// Every so many requests, one carries a body of 10 KiB; 0 for never.
    pub body_every: u64,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP.
    Http(Mode),
    /// The uwsgi protocol: a connection for each request.
    Uwsgi,
}

/// The app's book, and the clients that write into theirs.
#[derive(Debug)]
pub struct Books {
    directory: PathBuf,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<(&'static str, JoinHandle<ClientBook>)>,
    began: Instant,
    think: Duration,
}

/// What one client noted: its requests are numbered from 0 without a gap.
#[derive(Debug, Default)]
struct ClientBook {
    asked: u64,
    failures: Vec<(u64, Duration, Failure)>,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Books {
    /// Empty books.
    ///
    /// # Errors
    /// When the app's book has no place.
    pub fn open(ground: &Ground) -> Result<Books> {
        use std::os::unix::fs::PermissionsExt;
        let directory = ground.path("books");
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
        Ok(Books {
            directory,
            stop: Arc::default(),
            answered: Arc::default(),
            clients: Vec::new(),
            began: Instant::now(),
            think: Duration::from_millis(2),
        })
    }

    /// Another pause of a client between an answer and its next request than 2 ms.
    #[must_use]
    pub fn think(mut self, think: Duration) -> Books {
        self.think = think;
        self
    }

    /// The line of a vassal file that names the app's book.
    #[must_use]
    pub fn line(&self) -> String {
        format!("env = BOOKS={}\n", self.directory.display())
    }

    /// Lets clients in by this door.
    pub fn let_in(&mut self, door: &Door) {
        for _ in 0..door.clients {
            let (door, stop, answered) = (door.clone(), Arc::clone(&self.stop), Arc::clone(&self.answered));
            let (number, began, think) = (self.clients.len() as u64, self.began, self.think);
            let name = door.name;
            let client = thread::spawn(move || client(&door, number, &stop, &answered, began, think));
            self.clients.push((name, client));
        }
    }

    /// Answers so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `more` further answers have come.
    ///
    /// # Errors
    /// When they do not come.
    pub fn goes_on(&self, more: u64) -> Result<()> {
        let goal = self.answered() + more;
        wait::until("more answers in the books", PATIENCE, || (self.answered() >= goal).then_some(()))
    }

    /// Ends the clients and compares the two books.
    ///
    /// # Errors
    /// When the app's book cannot be read.
    pub fn close(self) -> Result<Account> {
        self.stop.store(true, Ordering::Relaxed);
        let mut account = Account::default();
        let mut counts: Vec<Vec<u8>> = Vec::new();
        let mut failed: Vec<Vec<u64>> = Vec::new();
        for (door, client) in self.clients {
            let Ok(book) = client.join() else { bail!("a client panicked") };
            counts.push(vec![0; usize::try_from(book.asked)?]);
            *account.asked.entry(door).or_default() += book.asked;
            account.longest_gap = account.longest_gap.max(book.longest_gap);
            failed.push(book.failures.iter().map(|(number, ..)| *number).collect());
            account.failures.extend(book.failures.into_iter().map(|(_, at, failure)| (door, at, failure)));
        }
        account.length = self.began.elapsed();
        for entry in fs::read_dir(&self.directory)? {
            let text = fs::read_to_string(entry?.path())?;
            for line in text.lines() {
                account.ran += 1;
                let place = line.split_once('-').and_then(|(client, number)| {
                    counts.get_mut(client.parse::<usize>().ok()?)?.get_mut(number.parse::<usize>().ok()?)
                });
                match place {
                    Some(count) => *count = count.saturating_add(1),
                    None => account.never_asked += 1,
                }
            }
        }
        for (counts, failed) in counts.iter().zip(&failed) {
            for (number, count) in (0..).zip(counts) {
                let answered = !failed.contains(&number);
                account.never_ran += u64::from(answered && *count == 0);
                account.ran_twice += u64::from(*count > 1);
            }
        }
        Ok(account)
    }
}

fn client(
    door: &Door,
    number: u64,
    stop: &AtomicBool,
    answered: &AtomicU64,
    began: Instant,
    think: Duration,
) -> ClientBook {
    let mut book = ClientBook::default();
    let mut open: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        match one(door, number, book.asked, &mut open) {
            Ok(()) => {
                answered.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                if let Some(last) = book.last.replace(now) {
                    book.longest_gap = book.longest_gap.max(now.duration_since(last));
                }
            }
            Err(failure) => {
                open = None;
                book.failures.push((book.asked, began.elapsed(), failure));
            }
        }
        book.asked += 1;
        wait::pause(think);
    }
    book
}

fn one(door: &Door, client: u64, number: u64, open: &mut Option<Connection>) -> Result<(), Failure> {
    let id = format!("{client}-{number}");
    let path = format!("/?{id}");
    let body =
        if door.body_every > 0 && number.is_multiple_of(door.body_every) { vec![b'b'; 10 * 1024] } else { Vec::new() };
    let answer = match door.speech {
        Speech::Uwsgi => uwsgi::get(&door.target, &path)?,
        Speech::Http(mode) => {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => Connection::open(&door.target, PATIENCE)?,
            };
            let mut ask = if body.is_empty() { Ask::get(&path) } else { Ask::post(&path).body("text/plain", &body) };
            if mode == Mode::Close {
                ask = ask.header("Connection", "close");
            }
            let answer = connection.ask(&ask)?;
            if mode == Mode::KeepAlive && !answer.closes() {
                *open = Some(connection);
            }
            answer
        }
    };
    let sent = if door.speech == Speech::Uwsgi { 0 } else { body.len() };
    let (told, rest) = answer.body.split_at(answer.body.len().min(id.len() + 1));
    if answer.status != 200 || told != format!("{id} ").as_bytes() || rest.len() != sent {
        return Err(Failure::Unexpected(format!("to {id}: {} {:.200}", answer.status, answer.text())));
    }
    Ok(())
}

/// What the comparison of both books shows.
#[derive(Debug, Default)]
pub struct Account {
    /// Requests asked, by door.
    pub asked: BTreeMap<&'static str, u64>,
    /// Requests the app ran.
    pub ran: u64,
    /// What clients did not get an answer to, by door, with the time since the beginning.
    pub failures: Vec<(&'static str, Duration, Failure)>,
    /// Answered, but not in the app's book.
    pub never_ran: u64,
    /// In the app's book more than once.
    pub ran_twice: u64,
    /// In the app's book, but asked by nobody.
    pub never_asked: u64,
    /// The longest time a client went without an answer.
    pub longest_gap: Duration,
    /// How long it went.
    pub length: Duration,
}

impl Account {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.asked.values().sum()
    }

    /// Both books say the same, and no request failed.
    ///
    /// # Errors
    /// With the account.
    pub fn balances(&self) -> Result<()> {
        let clean = self.failures.is_empty() && self.never_ran + self.ran_twice + self.never_asked == 0;
        if clean && self.total() > 0 && self.ran == self.total() {
            return Ok(());
        }
        bail!("the books do not balance: {self}")
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors: Vec<_> = self.asked.iter().map(|(door, asked)| format!("{asked} {door}")).collect();
        write!(
            f,
            "{} requests in {:.1} s ({}), {} run by the app, {} lost, {} without an entry of the app, {} run twice, {} never asked; \
             longest wait of a client {:.0} ms",
            self.total(),
            self.length.as_secs_f64(),
            doors.join(", "),
            self.ran,
            self.failures.len(),
            self.never_ran,
            self.ran_twice,
            self.never_asked,
            self.longest_gap.as_secs_f64() * 1e3
        )?;
        for (door, at, failure) in self.failures.iter().take(5) {
            write!(f, "\n  {door}, at {:.3} s: {failure}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
