//! Asks the coordinators of groups, and asks again, wherever they are by then, while they load or move.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::{Request, StrBytes};
use protocol::ApiKey;

use super::client::{Client, Node, passes};
use super::error::ClientError;

const KEY_TYPE_GROUP: i8 = 0;

/// What a coordinator said of one group: its part of the answer, or an error code with what the broker adds to it.
pub(in crate::cli) type PerGroup<T> = Result<T, (ResponseError, Option<String>)>;

/// A group's answer, and who gave it.
#[derive(Debug)]
pub(in crate::cli) struct Answered<T> {
    pub coordinator: Node,
    pub answer: T,
}

/// By group.
type Answers<T> = BTreeMap<String, Result<Answered<T>, ClientError>>;

impl Client {
    /// Asks about groups, all of one coordinator by one request. `request` makes it of their names; `parts` takes the answer
    /// apart. Each of the groups is in the outcome.
    pub async fn ask_coordinators<R: Request, T>(
        &self,
        groups: &[String],
        request: impl Fn(&[String]) -> R,
        parts: impl Fn(R::Response) -> Vec<(String, PerGroup<T>)>,
    ) -> Answers<T> {
        let api = ApiKey::from_key(R::KEY).expect("only APIs are asked for that brokers of this program serve too");
        let mut answers: Answers<T> = BTreeMap::new();
        let mut pending: Vec<String> = groups.to_vec();
        pending.sort_unstable();
        pending.dedup();
        loop {
            // Those that may be asked again, and why.
            let mut again: BTreeMap<String, ClientError> = BTreeMap::new();
            let mut places: BTreeMap<Node, Vec<String>> = BTreeMap::new();
            match self.find(&pending).await {
                Ok(found) => {
                    for (group, place) in found {
                        match place {
                            Ok(node) => places.entry(node).or_default().push(group),
                            Err(error) if error.refusal().is_some_and(passes) => drop(again.insert(group, error)),
                            Err(error) => drop(answers.insert(group, Err(error))),
                        }
                    }
                }
                Err(error) => {
                    answers.extend(pending.iter().map(|group| (group.clone(), Err(error.clone()))));
                    return answers;
                }
            }
            let asked = places.iter().map(|(node, groups)| {
                let request = request(groups);
                async move { (node, groups, self.call(node, &request).await) }
            });
            for (node, groups, outcome) in join_all(asked).await {
                let address = format!("{}:{}", node.host, node.port);
                let mut told = match outcome {
                    Ok(response) => parts(response).into_iter().collect::<BTreeMap<_, _>>(),
                    Err(error) => {
                        let passes = error.is_of_connection();
                        for group in groups {
                            match passes {
                                true => drop(again.insert(group.clone(), error.clone())),
                                false => drop(answers.insert(group.clone(), Err(error.clone()))),
                            }
                        }
                        continue;
                    }
                };
                for group in groups {
                    let (address, what) = (address.clone(), format!("group '{group}'"));
                    let answer = match told.remove(group) {
                        Some(Ok(answer)) => Ok(Answered { coordinator: node.clone(), answer }),
                        Some(Err((error, message))) => {
                            let refused = ClientError::RefusedOf { address, api, what, error, message };
                            if passes(error) {
                                again.insert(group.clone(), refused);
                                continue;
                            }
                            Err(refused)
                        }
                        None => Err(ClientError::Silent { address, api, what }),
                    };
                    answers.insert(group.clone(), answer);
                }
            }
            if again.is_empty() {
                return answers;
            }
            if !self.may_retry().await {
                answers.extend(again.into_iter().map(|(group, error)| (group, Err(error))));
                return answers;
            }
            pending = again.into_keys().collect();
        }
    }

    /// As [`Client::ask_coordinators`], about one group.
    pub async fn ask_coordinator<R: Request, T>(
        &self,
        group: &str,
        request: impl Fn() -> R,
        part: impl Fn(R::Response) -> PerGroup<T>,
    ) -> Result<Answered<T>, ClientError> {
        let groups = [group.to_owned()];
        let mut answers =
            self.ask_coordinators(&groups, |_| request(), |response| vec![(group.to_owned(), part(response))]).await;
        answers.remove(group).expect("each group is in the outcome")
    }

    /// Where each group's coordinator is.
    async fn find(&self, groups: &[String]) -> Result<Vec<(String, Result<Node, ClientError>)>, ClientError> {
        let api = ApiKey::FindCoordinator;
        let request = FindCoordinatorRequest::default()
            .with_key_type(KEY_TYPE_GROUP)
            .with_coordinator_keys(groups.iter().map(|group| StrBytes::from_string(group.clone())).collect());
        let (address, response): (String, FindCoordinatorResponse) = self.call_any(&request).await?;
        let mut told: BTreeMap<String, _> =
            response.coordinators.into_iter().map(|place| (place.key.to_string(), place)).collect();
        let found = groups.iter().map(|group| {
            let (address, what) = (address.clone(), format!("group '{group}'"));
            let place = match told.remove(group) {
                None => Err(ClientError::Silent { address, api, what }),
                Some(place) => match ResponseError::try_from_code(place.error_code) {
                    Some(error) => {
                        let message = place.error_message.map(|message| message.to_string());
                        Err(ClientError::RefusedOf { address, api, what, error, message })
                    }
                    None => Node::new(place.node_id.0, &place.host, place.port).ok_or(ClientError::Silent {
                        address,
                        api,
                        what: format!("the address of {what}'s coordinator"),
                    }),
                },
            };
            (group.clone(), place)
        });
        Ok(found.collect())
    }
}
