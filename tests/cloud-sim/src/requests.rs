//! What was asked of the cloud and how it went.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::Service;
use crate::cloud::Cloud;
use crate::inventory::as_rfc3339;
use crate::vendor::Outline;

/// One request, from its arrival on.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// From 1, in order of arrival.
    pub number: u64,
    /// The service.
    pub service: Service,
    /// The action that the request names, known or not.
    pub action: String,
    /// When it arrived, by the machine's clock and not the cloud's.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: SystemTime,
    /// The pair's name, else what stands for it: the list of names, the id.
    pub name: Option<String>,
    /// The business parameters: no signature, token or password is among them.
    pub parameters: BTreeMap<String, String>,
    /// The access key id that the request names.
    pub access_key: String,
    /// How many requests of this access key were being worked on when it arrived, itself included.
    pub in_flight: usize,
    /// `ok`, the vendor's error code, the fault that spoiled the reply, or `client_gone`. `None` while it lasts.
    pub outcome: Option<String>,
    /// The fault that hit it.
    pub fault: Option<&'static str>,
    /// Whether it changed something.
    pub committed: bool,
}

/// Which requests are meant; what is left out fits all.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    /// Requests to this service.
    pub service: Option<Service>,
    /// Requests for this action.
    pub action: Option<String>,
    /// Requests of this name, as in [`RequestRecord::name`].
    pub name: Option<String>,
    /// Requests with this outcome.
    pub outcome: Option<String>,
    /// Requests that are answered, or are not.
    pub finished: Option<bool>,
    /// Requests that changed something, or did not.
    pub committed: Option<bool>,
}

impl RequestFilter {
    /// The requests for an action.
    pub fn action(action: impl Into<String>) -> Self {
        Self {
            action: Some(action.into()),
            ..Self::default()
        }
    }

    fn matches(&self, record: &RequestRecord) -> bool {
        self.service.is_none_or(|wanted| wanted == record.service)
            && self.action.as_ref().is_none_or(|wanted| *wanted == record.action)
            && self
                .name
                .as_ref()
                .is_none_or(|wanted| Some(wanted) == record.name.as_ref())
            && self
                .outcome
                .as_ref()
                .is_none_or(|wanted| Some(wanted) == record.outcome.as_ref())
            && self
                .finished
                .is_none_or(|wanted| wanted == record.outcome.is_some())
            && self.committed.is_none_or(|wanted| wanted == record.committed)
    }
}

/// The requests so far, and how many of each access key there were at once.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// In order of arrival.
    pub requests: Vec<RequestRecord>,
    /// The most that were worked on at once, per access key id, whatever the filter.
    pub max_in_flight: BTreeMap<String, usize>,
}

/// The log itself.
#[derive(Default)]
pub(crate) struct Log {
    records: Vec<RequestRecord>,
    arrived: u64,
    in_flight: HashMap<String, usize>,
    max_in_flight: BTreeMap<String, usize>,
}

impl Log {
    pub(crate) fn select(&self, filter: &RequestFilter) -> Requests {
        Requests {
            requests: self
                .records
                .iter()
                .filter(|record| filter.matches(record))
                .cloned()
                .collect(),
            max_in_flight: self.max_in_flight.clone(),
        }
    }

    pub(crate) fn count(&self, filter: &RequestFilter) -> usize {
        self.records
            .iter()
            .filter(|record| filter.matches(record))
            .count()
    }

    /// Forgets the requests so far; those still in flight stay counted as such.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.max_in_flight = self
            .in_flight
            .iter()
            .map(|(key, count)| (key.clone(), *count))
            .collect();
    }

    fn add(&mut self, mut record: RequestRecord) -> u64 {
        self.arrived += 1;
        record.number = self.arrived;
        let in_flight = self.in_flight.entry(record.access_key.clone()).or_default();
        *in_flight += 1;
        record.in_flight = *in_flight;
        let most = self.max_in_flight.entry(record.access_key.clone()).or_default();
        *most = (*most).max(*in_flight);
        self.records.push(record);
        self.arrived
    }

    fn leave(&mut self, access_key: &str) {
        if let Some(count) = self.in_flight.get_mut(access_key) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(access_key);
            }
        }
    }

    fn record(&mut self, number: u64) -> Option<&mut RequestRecord> {
        self.records
            .iter_mut()
            .rev()
            .find(|record| record.number == number)
    }
}

/// A request being worked on. It is in flight until this is dropped, be it because the client went away.
pub(crate) struct Visit {
    cloud: Arc<Cloud>,
    number: u64,
    access_key: String,
}

impl Visit {
    pub(crate) fn arrive(cloud: &Arc<Cloud>, service: Service, outline: Outline) -> Self {
        let access_key = outline.access_key;
        let record = RequestRecord {
            number: 0,
            service,
            action: outline.action,
            time: SystemTime::now(),
            name: outline.name,
            parameters: outline.parameters.into_iter().collect(),
            access_key: access_key.clone(),
            in_flight: 0,
            outcome: None,
            fault: None,
            committed: false,
        };
        let number = cloud.log(|log| log.add(record));
        Self {
            cloud: Arc::clone(cloud),
            number,
            access_key,
        }
    }

    pub(crate) fn fault(&self, fault: &'static str) {
        self.change(|record| record.fault = Some(fault));
    }

    pub(crate) fn committed(&self) {
        self.change(|record| record.committed = true);
    }

    pub(crate) fn finish(&self, outcome: &str) {
        self.change(|record| record.outcome = Some(outcome.to_owned()));
    }

    fn change(&self, change: impl FnOnce(&mut RequestRecord)) {
        self.cloud.log(|log| log.record(self.number).map(change));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.cloud.log(|log| {
            log.leave(&self.access_key);
            if let Some(record) = log.record(self.number) {
                record.outcome.get_or_insert_with(|| "client_gone".to_owned());
            }
        });
    }
}
