//! The suite of what a log does, on the simulated log.

use super::{
    link::SimulatedLink,
    log::{Data, Log as Partitioned},
    scene,
    simulation::{Simulation, wall_ms},
    world::{Process, Settings},
};
use crate::{
    clock::Clock,
    transport::{
        LinkSettings, NextOffset, Partition,
        suite::{self, Log, Row},
    },
};
use fastrand::Rng;
use std::{cell::Cell, rc::Rc, time::Duration};

suite::behaviours!(Simulated);

/// A world of its own, in which nothing goes wrong.
struct Simulated {
    simulation: Rc<Simulation>,
    /// Writers of inputs have numbers that no worker's has.
    producers: Cell<u32>,
}

impl Simulated {
    fn with_input<T>(&self, partition: Partition, work: impl FnOnce(&mut Partitioned) -> T) -> T {
        work(&mut self.simulation.world.borrow_mut().inputs[partition.input][partition.number as usize])
    }

    fn data(&self, row: &Row) -> Rc<Data> {
        Rc::new(Data {
            key: row.key.clone(),
            value: row.value.clone(),
            headers: row.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect(),
            timestamp: row.timestamp.or(Some(wall_ms(self.simulation.now()))),
        })
    }

    /// What was decided comes to be known.
    fn settle(&self) {
        self.simulation.pass(Duration::from_millis(100));
    }
}

impl Log for Simulated {
    type Link = SimulatedLink;

    fn with(inputs: &[u32], outputs: &[u32]) -> Simulated {
        let settings = Settings { audited: false, ..scene::settings() };
        let simulation = Simulation::new(Rng::with_seed(7), settings, (inputs, outputs), None, false);
        Simulated { simulation, producers: Cell::new(1_000_000) }
    }

    fn link(&self, settings: LinkSettings) -> SimulatedLink {
        let mut world = self.simulation.world.borrow_mut();
        // The world has one stage, whose settings are these.
        world.settings.delivery = settings.delivery;
        world.settings.from = settings.from;
        world.settings.on_lost_offset = settings.on_lost_offset;
        world.settings.transaction_timeout = settings.transaction_timeout;
        world.processes.push(Process { host: 0, alive: true, silent: None });
        let process = world.processes.len() - 1;
        let shared = settings.shared_writer.as_deref();
        SimulatedLink::writing_as(shared, self.simulation.clone(), settings.name.clone(), process)
    }

    fn put(&self, partition: Partition, rows: &[Row]) {
        for row in rows {
            let data = self.data(row);
            self.with_input(partition, |log| log.append(None, data));
        }
    }

    fn put_in_transaction(&self, partition: Partition, rows: &[Row], commit: bool) {
        let producer = self.producers.get() + 1;
        self.producers.set(producer);
        for row in rows {
            let data = self.data(row);
            self.with_input(partition, |log| log.append(Some(producer), data));
        }
        self.with_input(partition, |log| log.mark(producer, commit));
    }

    fn put_header(&self, partition: Partition, name: &[u8], value: &[u8]) {
        let headers = vec![(name.to_vec(), Some(value.to_vec()))];
        let data = Rc::new(Data { headers, value: Some(b"x".into()), ..Data::default() });
        self.with_input(partition, |log| log.append(None, data));
    }

    fn read(&self, output: usize) -> Vec<(u32, Row)> {
        self.settle();
        let row = |data: &Data| Row {
            key: data.key.clone(),
            value: data.value.clone(),
            headers: data
                .headers
                .iter()
                .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()))
                .collect(),
            timestamp: data.timestamp,
        };
        let world = self.simulation.world.borrow();
        let read = |(number, log): (u32, &Partitioned)| -> Vec<_> {
            log.read(0).map(|(_, data)| (number, row(data))).collect()
        };
        (0..).zip(&world.outputs[output]).flat_map(read).collect()
    }

    fn first_header(&self, output: usize) -> (Vec<u8>, Vec<u8>) {
        self.settle();
        let world = self.simulation.world.borrow();
        let (_, data) = world.outputs[output][0].read(0).next().unwrap();
        let (name, value) = data.headers[0].clone();
        (name, value.unwrap())
    }

    fn end(&self, partition: Partition) -> NextOffset {
        self.with_input(partition, |log| NextOffset(log.stable_end()))
    }

    fn committed(&self, partition: Partition) -> Option<NextOffset> {
        self.settle();
        self.simulation.world.borrow().group.committed.get(&partition).copied()
    }

    fn grow(&self, input: usize, partitions: u32) {
        while self.simulation.world.borrow().inputs[input].len() < partitions as usize {
            self.simulation.grow(input);
        }
    }

    fn forget(&self, partition: Partition) {
        self.with_input(partition, Partitioned::forget);
    }

    fn clock(&self) -> Rc<dyn Clock> {
        self.simulation.clock()
    }
}
