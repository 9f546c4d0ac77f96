//! As much of HTTP/1.1 as a scraper needs: GET, and nothing that has a body.

/// The longest head of a request, bytes.
pub const MAX_HEAD: usize = 8 << 10;

/// A request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The path without the query.
    pub path: String,
    /// HEAD: the answer goes without its body.
    pub head_only: bool,
    /// The connection stays open afterwards.
    pub keep_alive: bool,
    /// The scraper takes OpenMetrics.
    pub openmetrics: bool,
    /// What `Authorization: Basic` holds, still in base64.
    pub basic: Option<String>,
}

/// Why a request is refused: a status, and words for people.
pub type Refusal = (u16, &'static str);

/// Reads the head of a request that is complete: `head` ends with an empty line.
pub fn parse(head: &[u8]) -> Result<Request, Refusal> {
    const BAD: Refusal = (400, "malformed request");
    let text = std::str::from_utf8(head).map_err(|_| BAD)?;
    let mut lines = text.split("\r\n").flat_map(|line| line.split('\n'));
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    let modern = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        v if v.starts_with("HTTP/") => return Err((505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
        _ => return Err(BAD),
    };
    if method.is_empty() || !method.bytes().all(|c| c.is_ascii_alphabetic()) || !target.starts_with('/') {
        return Err(BAD);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err((405, "only GET"));
    }
    let mut request = Request {
        path: target.split(['?', '#']).next().unwrap_or_default().to_owned(),
        head_only: method == "HEAD",
        keep_alive: modern,
        openmetrics: false,
        basic: None,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        let value = value.trim();
        match &name.to_ascii_lowercase()[..] {
            "connection" if value.eq_ignore_ascii_case("close") => request.keep_alive = false,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => request.keep_alive = true,
            "accept" => request.openmetrics |= value.contains("application/openmetrics-text"),
            "authorization" => {
                let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
                request.basic = scheme.eq_ignore_ascii_case("basic").then(|| rest.trim().to_owned());
            }
            "content-length" if value.trim_start_matches('0').is_empty() => {}
            "content-length" | "transfer-encoding" => return Err((413, "requests have no body here")),
            _ => {}
        }
    }
    Ok(request)
}

/// Where the head ends, if all of it is there.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let crlf = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let lf = memchr::memmem::find(bytes, b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

/// The head of an answer.
pub fn head(status: u16, content_type: &str, length: usize, keep_alive: bool) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    let extra = match status {
        401 => "WWW-Authenticate: Basic realm=\"dunlin\"\r\n",
        405 => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: \
         {connection}\r\nCache-Control: no-store\r\n{extra}\r\n"
    )
}

/// `user:password` in base64, as a client sends it.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrapers_request_is_understood() {
        let request = parse(
            b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\
              Authorization: Basic YTpi\r\n\r\n",
        )
        .unwrap();
        assert_eq!(request.path, "/metrics");
        assert!(request.keep_alive && request.openmetrics && !request.head_only);
        assert_eq!(request.basic.as_deref(), Some("YTpi"));
        assert!(!parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(!parse(b"HEAD / HTTP/1.1\nConnection: close\n\n").unwrap().keep_alive);
    }

    #[test]
    fn what_is_no_get_is_refused_with_its_status() {
        for (request, status) in [
            ("POST /metrics HTTP/1.1\r\n\r\n", 405),
            ("DELETE / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 405),
            ("GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 413),
            ("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("GET /metrics HTTP/2.0\r\n\r\n", 505),
            ("GET /metrics\r\n\r\n", 400),
            ("GET metrics HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("*1\r\n$4\r\nPING\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ] {
            assert_eq!(parse(request.as_bytes()).unwrap_err().0, status, "{request:?}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err().0, 400);
    }

    #[test]
    fn base64_is_padded() {
        for (plain, coded) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("a:b>?", "YTpiPj8=")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert!(same(b"ab", b"ab") && !same(b"ab", b"ac") && !same(b"ab", b"abc"));
    }
}
