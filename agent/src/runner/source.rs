//! Drives a source.

use std::sync::Arc;

use millstream_core::{ChannelProcessor, MetricName, Source, SourceContext, SourceSpec, StopToken};

use super::{contained, keep_running};
use crate::pipeline::{Component, build_source};

/// Runs the source until it is asked to stop or cannot go on.
pub(crate) async fn run_source(
    component: Component<SourceSpec>,
    source: Box<dyn Source>,
    processor: Arc<ChannelProcessor>,
    stop: StopToken,
) {
    let status = Arc::clone(&component.status);
    let cx = SourceContext { name: Arc::clone(&component.name), processor, status: Arc::clone(&status), stop };
    let mut built = Some(source);
    let run = || {
        let source = match built.take() {
            Some(source) => Ok(source),
            None => build_source(component.spec, &component.options, &component.full_name),
        };
        let (cx, place) = (cx.clone(), component.full_name.clone());
        let status = Arc::clone(&status);
        async move {
            let outcome = match source {
                Ok(source) => contained(&place, source.run(cx)).await,
                Err(error) => Err(error),
            };
            status.count(MetricName::GenericProcessingFail, outcome.is_err().into());
            outcome
        }
    };
    keep_running(&status, &cx.stop, run).await;
}
