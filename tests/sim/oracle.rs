//! What ought to happen, by a naive proxy without bounds, faults or time: a request between the two
//! organisations arrives once at the right pool and its answer comes back; everything else is
//! refused. Faults allow less, never something else.

use std::collections::BTreeMap;

/// One request as its sender knows it.
#[derive(Debug, Default)]
pub(crate) struct Request {
    method: String,
    call_id: String,
    sequence: u64,
    /// The pool that should get it; `None` if it is to be refused.
    to: Option<usize>,
    delivered_to: Vec<usize>,
    finals: Vec<u16>,
    answered: Vec<u16>,
    /// The sender's own connection broke, or it gave up.
    sender_lost: bool,
}

/// All requests by their number.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    requests: BTreeMap<u64, Request>,
    /// Deliveries per call and pool, in order.
    order: BTreeMap<(String, usize), Vec<u64>>,
    complaints: Vec<String>,
}

impl Oracle {
    pub(crate) fn requests(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn sent(&mut self, id: u64, method: &str, call_id: &str, to: Option<usize>) {
        let request = Request {
            method: method.to_owned(),
            call_id: call_id.to_owned(),
            sequence: id,
            to,
            ..Request::default()
        };
        assert!(self.requests.insert(id, request).is_none(), "numbers are used once");
    }

    pub(crate) fn delivered(&mut self, id: u64, pool: usize, trusted: usize) {
        let Some(request) = self.requests.get_mut(&id) else {
            self.complaints.push(format!("request {id} was never sent"));
            return;
        };
        request.delivered_to.push(pool);
        self.order.entry((request.call_id.clone(), pool)).or_default().push(request.sequence);
        if trusted != 1 {
            self.complaints.push(format!("request {id} carries {trusted} trust headers"));
        }
    }

    /// The pool has answered a request finally.
    pub(crate) fn answered(&mut self, id: u64, status: u16) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.answered.push(status);
        }
    }

    pub(crate) fn finished(&mut self, id: u64, status: u16) {
        match self.requests.get_mut(&id) {
            Some(request) => request.finals.push(status),
            None => self.complaints.push(format!("a response to request {id}, never sent")),
        }
    }

    /// The sender has cancelled it.
    pub(crate) fn cancelled(&mut self, id: u64) {
        self.answered(id, 487);
    }

    /// The sender can no longer be answered.
    pub(crate) fn abandoned(&mut self, id: u64) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.sender_lost = true;
        }
    }

    /// Judges everything. `faults`: whether anything was broken on purpose.
    pub(crate) fn judge(&self, faults: bool) -> Result<(), String> {
        if let Some(complaint) = self.complaints.first() {
            return Err(complaint.clone());
        }
        for (id, request) in &self.requests {
            request.judge(faults).map_err(|why| format!("{} {id}: {why}", request.method))?;
        }
        for ((call_id, pool), sequence) in &self.order {
            let mut last = 0;
            for (at, &number) in sequence.iter().enumerate() {
                // The same number again is a retry, judged above.
                if sequence[..at].contains(&number) {
                    continue;
                }
                if number < last {
                    return Err(format!("{call_id} at pool {pool}: {sequence:?} is out of order"));
                }
                last = number;
            }
        }
        Ok(())
    }
}

impl Request {
    fn judge(&self, faults: bool) -> Result<(), String> {
        let silent = matches!(self.method.as_str(), "ACK" | "BENOTIFY");
        let retriable = matches!(self.method.as_str(), "INVITE" | "SUBSCRIBE");
        if let Some(stray) = self.delivered_to.iter().find(|pool| Some(**pool) != self.to) {
            return Err(format!("delivered to pool {stray} instead of {:?}", self.to));
        }
        if self.delivered_to.len() > 1 && !(faults && retriable) {
            return Err(format!("delivered {} times", self.delivered_to.len()));
        }
        if self.finals.len() > 1 {
            return Err(format!("several final responses: {:?}", self.finals));
        }
        if silent && !self.finals.is_empty() {
            return Err(format!("answered with {:?}, though nobody may answer it", self.finals));
        }
        match self.finals.first() {
            Some(status) => self.judge_status(*status, faults),
            None if silent || self.sender_lost => Ok(()),
            None if self.method == "INVITE" => Err("never answered".to_owned()),
            // RFC 4320: whoever asked gives up by itself, but only if nobody could answer.
            None if faults && self.to.is_some() => Ok(()),
            None => Err("no final response".to_owned()),
        }
    }

    fn judge_status(&self, status: u16, faults: bool) -> Result<(), String> {
        let expected = match self.to {
            None => [403, 404].contains(&status),
            Some(_) => self.answered.contains(&status),
        };
        // 504: not reachable; 480, 503: held back; 408, 487: given up; 481: its dialog is gone.
        let excused = faults && [408, 480, 481, 487, 503, 504].contains(&status);
        if expected || excused {
            return Ok(());
        }
        Err(format!("answered {status} where {:?} answered {:?}", self.to, self.answered))
    }
}

/// Feeds an oracle what must not happen.
pub(crate) fn notices_duplicates_strays_and_silence() {
    let judged = |play: &dyn Fn(&mut Oracle)| {
        let mut oracle = Oracle::default();
        oracle.sent(1, "MESSAGE", "c", Some(1));
        oracle.sent(2, "MESSAGE", "c", Some(1));
        oracle.delivered(1, 1, 1);
        oracle.answered(1, 200);
        oracle.finished(1, 200);
        play(&mut oracle);
        oracle.judge(true)
    };
    assert!(judged(&|_| {}).is_ok());
    assert!(judged(&|oracle| oracle.delivered(1, 1, 1)).is_err(), "twice");
    assert!(judged(&|oracle| oracle.delivered(2, 0, 1)).is_err(), "astray");
    assert!(judged(&|oracle| oracle.delivered(2, 1, 0)).is_err(), "untrusted");
    assert!(judged(&|oracle| oracle.finished(1, 200)).is_err(), "two answers");
    assert!(judged(&|oracle| oracle.finished(2, 200)).is_err(), "an invented answer");
    assert!(judged(&|oracle| oracle.finished(9, 200)).is_err(), "an answer to nothing");
    let mut silent = Oracle::default();
    silent.sent(1, "INVITE", "c", Some(1));
    assert!(silent.judge(true).is_err(), "an INVITE always ends");
    let mut disorder = Oracle::default();
    for id in [1, 2] {
        disorder.sent(id, "BENOTIFY", "c", Some(1));
    }
    disorder.delivered(2, 1, 1);
    disorder.delivered(1, 1, 1);
    assert!(disorder.judge(true).is_err(), "order");
}
