//! Groups of sinks: each is one component, made of its sinks.

use std::sync::Arc;

use millstream_config::{ComponentConfig, PartConfig, SinkGroupConfig};
use millstream_core::{BuiltSink, ComponentStatus, Error, GroupSpec, Member, Options, Result, Setting, SinkSpec};

use super::{Assembly, BuildSink, Component, SinkPart, Stage, guarded};
use crate::path::Shown;

impl Assembly<'_> {
    pub(super) fn add_group(&mut self, group: &SinkGroupConfig) {
        let members: Vec<ComponentConfig> =
            self.config.sinks.iter().filter(|sink| group.sinks.contains(&sink.name)).cloned().collect();
        if members.is_empty() {
            // Taken away with their channel, of which it was told.
            return;
        }
        let definition = group_definition(group, &members);
        let same = self.beside.sinks.iter().any(|old| old.means_the_same_as(&definition));
        let stays = same && self.stays_connected(&definition);
        match self.group(group, &members, &definition, stays) {
            Ok(stage) => self.sinks.push(stage),
            Err(error) => self.refuse("sinkgroup", &definition, error),
        }
    }

    /// The sinks of a group as one. One that cannot be built is refused alone.
    fn group(
        &mut self,
        group: &SinkGroupConfig,
        sinks: &[ComponentConfig],
        definition: &ComponentConfig,
        stays: bool,
    ) -> Result<Stage<SinkPart>> {
        let (spec, options): (&GroupSpec, _) =
            self.configure_part("sink processor", self.registry.groups(), &group.processor)?;
        check_channels(group, sinks)?;
        if let Some(channel) = options.find("channel")
            && !self.config.channels.iter().any(|known| known.name == channel)
        {
            let known: Vec<&str> = self.config.channels.iter().map(|known| known.name.as_str()).collect();
            let problem = format!("expected a working channel of this agent ({}), got {channel:?}", known.join(" "));
            return Err(options.refuse("channel", problem));
        }
        let (mut members, mut shown) = (Vec::new(), Vec::new());
        for sink in sinks {
            let member = self.configure("sink", self.registry.sinks(), sink).and_then(|component| {
                self.check_batch_size(&component.options, &sink.channels)?;
                if let BuiltSink::Pull(_) =
                    guarded(&component.full_name, || (component.spec.build)(&component.options))?
                {
                    let problem = format!(
                        "{} hands out batches itself; take it out of group {}",
                        component.spec.name, group.name
                    );
                    return Err(Error::config(&sink.type_place, problem));
                }
                Ok(component)
            });
            match member {
                Ok(component) => {
                    shown.push(Shown::new(&component, &[], Vec::new()).text);
                    members.push(component);
                }
                Err(error) => self.refuse("sink", sink, error),
            }
        }
        if members.is_empty() {
            return Err(Error::config(&definition.type_place, "none of its sinks can run"));
        }
        if stays {
            return Ok(Stage::Kept(definition.clone()));
        }
        // What the group says of a sink that it has to do without is said of nobody.
        let options = match members.len() < group.sinks.len() {
            true => {
                let runs = |name: &str| members.iter().any(|member| &*member.name == name);
                let idle: Vec<String> =
                    group.sinks.iter().filter(|name| !runs(name)).map(|name| format!("priority.{name}")).collect();
                let mut processor = group.processor.clone();
                processor.settings.retain(|setting| !idle.contains(&setting.key));
                let place = processor.type_place.strip_suffix(".type").unwrap_or(&processor.type_place);
                Options::parse(place, spec.options, &[], processor.settings)?.0
            }
            false => options,
        };
        let full_name = self.full_name("sinkgroup", &group.name);
        let name: Arc<str> = group.name.as_str().into();
        let status = ComponentStatus::new("sinkgroup", Arc::clone(&name), spec.name.into());
        let statuses = members.iter().map(|member| Arc::clone(&member.status)).collect();
        let channels = definition.channels.iter().take(1).map(|name| name.as_str().into()).collect();
        let shown = Shown { text: format!("{} {} ({})", spec.name, group.name, shown.join(", ")), channels };
        let place = full_name.clone();
        let build: BuildSink = Box::new(move || guarded(&place, || built_group(spec, &options, &members)));
        let part = SinkPart { full_name, name, status, members: statuses, sink: build()?, build, shown };
        Ok(Stage::New(definition.clone(), Box::new(part)))
    }
}

/// A group as one component: what any of its sinks is made of is part of it.
fn group_definition(group: &SinkGroupConfig, sinks: &[ComponentConfig]) -> ComponentConfig {
    let PartConfig { type_name, type_place, settings, .. } = group.processor.clone();
    let first = sinks.first().cloned().unwrap_or_default();
    let of_sinks = sinks.iter().flat_map(|sink| {
        let type_of = Setting { key: "type".into(), value: sink.type_name.clone(), place: sink.type_place.clone() };
        let settings = sink.settings.iter().cloned().chain([type_of]);
        settings.map(|setting| Setting { key: format!("sinks.{}.{}", sink.name, setting.key), ..setting })
    });
    ComponentConfig {
        name: group.name.clone(),
        type_name,
        type_place,
        channels: first.channels.into_iter().chain(group.spool.clone()).collect(),
        channels_place: first.channels_place,
        settings: settings.into_iter().chain(of_sinks).collect(),
        ..ComponentConfig::default()
    }
}

/// A take comes from one channel: that of all sinks of a group.
fn check_channels(group: &SinkGroupConfig, sinks: &[ComponentConfig]) -> Result<()> {
    let Some((first, rest)) = sinks.split_first() else { return Ok(()) };
    match rest.iter().find(|sink| sink.channels != first.channels) {
        Some(other) => Err(Error::config(
            &other.channels_place,
            format!(
                "expected {}, the channel of {}, got {}: the sinks of group {} share one channel",
                first.channels.join(" "),
                first.name,
                other.channels.join(" "),
                group.name
            ),
        )),
        None => Ok(()),
    }
}

fn built_group(spec: &GroupSpec, options: &Options, members: &[Component<SinkSpec>]) -> Result<BuiltSink> {
    let mut sinks = Vec::with_capacity(members.len());
    for Component { full_name, name, spec, options, status } in members {
        // Was seen to be none that hands out batches itself.
        if let BuiltSink::Push { sink, batch_size } = guarded(full_name, || (spec.build)(options))? {
            sinks.push(Member { name: Arc::clone(name), sink, batch_size, status: Arc::clone(status) });
        }
    }
    let batch_size = sinks.iter().map(|member| member.batch_size).min().unwrap_or(1);
    Ok(BuiltSink::Push { sink: (spec.build)(options, sinks)?, batch_size })
}
