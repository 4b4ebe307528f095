//! FastCGI (<https://fastcgi-archives.github.io/FastCGI_Specification.html>) as a responder: the head of a request out of
//! its records, its body ([`stdin`]), and the records of an answer ([`record`]). One request at a time is served on a
//! connection, as every web server in use asks for; whoever begins a second one beside it is told so.

pub mod record;
pub mod stdin;

use crate::{Bad, Limits, Parsed, cgi::ContentLength, framing::Body, limits::RECORDS_MAX_BYTES};
use record::{Kind, Record, Status};

/// What a connection says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A request.
    Request(Request),
    /// Something that is answered without the app, perhaps by nothing.
    Other {
        /// To be sent as it is.
        answer: Vec<u8>,
        /// Whether the connection is of no use after it.
        closes: bool,
    },
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number on this connection; every record of the answer carries it.
    pub request_id: u16,
    /// Whether the web server will use the connection again.
    pub keeps: bool,
    /// The variables one behind the other.
    pub params: Params,
    /// How the end of the body is found.
    pub body: Body,
    /// Answers to what else was asked between the records of the head.
    pub answer: Vec<u8>,
}

/// Variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    bytes: Vec<u8>,
    /// Where each name and value ends; they begin behind each other's lengths.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Params {
    /// The variables, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places
            .iter()
            .map(|place| (&self.bytes[place.start..place.name_end], &self.bytes[place.name_end..place.end]))
    }

    fn parse(bytes: Vec<u8>, limits: &Limits) -> Result<(Self, Option<u64>), Bad> {
        let mut places = Vec::with_capacity(32);
        let mut content_length = ContentLength::default();
        let mut at = 0;
        while at < bytes.len() {
            let malformed = Bad::new(400, "the length of a parameter points beyond the parameters");
            let (name, value, lengths) = record::pair_lengths(&bytes[at..]).ok_or(malformed)?;
            let start = at + lengths;
            let name_end = start.checked_add(name).ok_or(malformed)?;
            let end = name_end.checked_add(value).filter(|end| *end <= bytes.len()).ok_or(malformed)?;
            if name == 0 {
                return Err(Bad::new(400, "a parameter without a name"));
            }
            if places.len() == limits.headers_max {
                return Err(Bad::new(431, "too many parameters"));
            }
            content_length.var(&bytes[start..name_end], &bytes[name_end..end], limits.body_max_bytes)?;
            places.push(Place { start, name_end, end });
            at = end;
        }
        Ok((Self { bytes, places }, content_length.said()))
    }
}

/// What the bytes received so far are.
#[must_use]
pub fn parse(bytes: &[u8], limits: &Limits) -> Parsed<Head> {
    match Reader::new(bytes, limits).head() {
        Ok(Some((head, consumed))) => Parsed::Head { head, consumed },
        Ok(None) => Parsed::NeedMore,
        Err(bad) => Parsed::Bad(bad),
    }
}

type Found = Result<Option<(Head, usize)>, Bad>;

/// Goes through the records of a head.
struct Reader<'b> {
    bytes: &'b [u8],
    limits: &'b Limits,
    at: usize,
    answer: Vec<u8>,
}

/// A request whose parameters are being read.
struct Begun {
    request_id: u16,
    keeps: bool,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8], limits: &'b Limits) -> Self {
        Self { bytes, limits, at: 0, answer: Vec::new() }
    }

    /// The next whole record.
    fn record(&mut self) -> Result<Option<Record<'b>>, Bad> {
        if self.at > self.limits.head_max_bytes + RECORDS_MAX_BYTES {
            return Err(Bad::new(431, "the head has too many records"));
        }
        let record = Record::read(&self.bytes[self.at..])?;
        if let Some(record) = &record {
            self.at += record.length;
        }
        Ok(record)
    }

    fn head(mut self) -> Found {
        let Some(first) = self.record()? else { return Ok(None) };
        if first.kind != Kind::BeginRequest || first.request_id == 0 {
            self.beside(&first, None)?;
            return self.other(false);
        }
        let begin = record::Begin::read(first.content)?;
        let begun = Begun { request_id: first.request_id, keeps: begin.keeps };
        if !begin.is_responder {
            record::end(begun.request_id, Status::UnknownRole, &mut self.answer);
            return self.other(!begun.keeps);
        }
        self.params(begun)
    }

    fn params(mut self, begun: Begun) -> Found {
        let mut params = Vec::new();
        loop {
            let Some(record) = self.record()? else { return Ok(None) };
            match record.kind {
                _ if record.request_id != begun.request_id => self.beside(&record, Some(begun.request_id))?,
                Kind::Params if record.content.is_empty() => break,
                Kind::Params => params.extend_from_slice(record.content),
                Kind::AbortRequest => return self.aborted(&begun),
                _ => return Err(Bad::new(400, "a record that does not belong into a head")),
            }
            if params.len() > self.limits.head_max_bytes {
                return Err(Bad::new(431, "the parameters are longer than buffer-size allows"));
            }
        }
        let (params, length) = Params::parse(params, self.limits)?;
        let body = Body::Records { request_id: begun.request_id, length };
        if length.is_some_and(|length| length > 0) {
            return self.request(begun, params, body);
        }
        // Most requests have no body: their one empty STDIN belongs to the head, so that nobody waits for it later.
        loop {
            let before = self.at;
            let Some(header) = record::Header::read(&self.bytes[self.at..])? else { return Ok(None) };
            if header.request_id == begun.request_id && header.kind == Kind::Stdin && header.content_length > 0 {
                self.at = before;
                return self.request(begun, params, body);
            }
            let Some(record) = self.record()? else { return Ok(None) };
            match record.kind {
                _ if record.request_id != begun.request_id => self.beside(&record, Some(begun.request_id))?,
                Kind::Stdin => return self.request(begun, params, Body::Length(0)),
                Kind::AbortRequest => return self.aborted(&begun),
                _ => return Err(Bad::new(400, "a record that does not belong behind the parameters")),
            }
        }
    }

    /// A record that is not of the request being read.
    fn beside(&mut self, record: &Record<'_>, active: Option<u16>) -> Result<(), Bad> {
        record::answer_beside(record.kind, record.request_id, record.content, active, &mut self.answer)
    }

    fn aborted(mut self, begun: &Begun) -> Found {
        record::end(begun.request_id, Status::Complete, &mut self.answer);
        self.other(!begun.keeps)
    }

    fn request(self, begun: Begun, params: Params, body: Body) -> Found {
        let Begun { request_id, keeps } = begun;
        Ok(Some((Head::Request(Request { request_id, keeps, params, body, answer: self.answer }), self.at)))
    }

    fn other(self, closes: bool) -> Found {
        Ok(Some((Head::Other { answer: self.answer, closes }, self.at)))
    }
}
