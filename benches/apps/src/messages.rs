//! Message passing: tokio tasks and crossbeam channels. What one thread allocates, another frees,
//! threads end while their messages live on, and tasks hop between workers.

use crate::digest::{Numbers, digest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

struct Request {
    id: u64,
    body: Vec<u8>,
    answer: oneshot::Sender<(u64, String)>,
}

/// A service of several workers on a multi-thread runtime, asked by 2000 tasks.
pub fn tokio() -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("threads can be started");
    let out = runtime.block_on(async {
        let (requests, inbox) = mpsc::channel::<Request>(64);
        let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
        let (news, _) = broadcast::channel::<Arc<String>>(512);
        let mut services = Vec::new();
        for _ in 0..3 {
            let (inbox, news) = (Arc::clone(&inbox), news.clone());
            services.push(tokio::spawn(async move {
                let mut served = 0_u64;
                loop {
                    let request = inbox.lock().await.recv().await;
                    let Some(request) = request else {
                        return served;
                    };
                    let text = format!("{}:{:016x}", request.id, digest(&request.body));
                    // Nobody may be listening; that is no fault.
                    let _ = news.send(Arc::new(text.clone()));
                    request.answer.send((request.id, text)).expect("the asker waits");
                    served += 1;
                    tokio::task::yield_now().await;
                }
            }));
        }
        let limit = Arc::new(Semaphore::new(100));
        let askers: Vec<_> = (0..2000_u64)
            .map(|id| {
                let (requests, limit) = (requests.clone(), Arc::clone(&limit));
                tokio::spawn(async move {
                    let _permit = limit.acquire().await.expect("open");
                    let mut numbers = Numbers::new(id);
                    let body = vec![id as u8; numbers.length(20_000)];
                    let (answer, reply) = oneshot::channel();
                    let request = Request { id, body, answer };
                    assert!(requests.send(request).await.is_ok(), "a service listens");
                    reply.await.expect("every request is answered")
                })
            })
            .collect();
        drop(requests);
        let mut answers = BTreeMap::new();
        for asker in askers {
            let (id, text) = asker.await.expect("no task panics");
            answers.insert(id, text);
        }
        let mut served = 0;
        for service in services {
            served += service.await.expect("no task panics");
        }
        let all: Vec<String> = answers.into_values().collect();
        format!("served {served}\nanswers {} {:016x}", all.len(), digest(all.join(",").as_bytes()))
    });
    // Timers and blocking threads, which come and go with the work.
    let slept = runtime.block_on(async {
        let tasks: Vec<_> = (0..200_u64)
            .map(|k| {
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(k % 7)).await;
                    let made = tokio::task::spawn_blocking(move || vec![k; (k as usize + 1) * 50]);
                    made.await.expect("no task panics").iter().sum::<u64>()
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("no task panics");
        }
        sum
    });
    format!("{out}\nblocking {slept}")
}

/// A pipeline of threads: makers, stages that change what passes through, and waves of threads
/// that end before their messages are read.
pub fn channels() -> String {
    let (first, middle) = crossbeam_channel::bounded::<(u64, Vec<u8>)>(128);
    let (second, last) = crossbeam_channel::unbounded::<(u64, String)>();
    let makers: Vec<_> = (0..4_u64)
        .map(|maker| {
            let first = first.clone();
            thread::spawn(move || {
                let mut numbers = Numbers::new(maker);
                for k in 0..4000 {
                    let body = vec![b'a' + (k % 26) as u8; numbers.length(3000)];
                    first.send((maker << 32 | k, body)).expect("a stage listens");
                }
            })
        })
        .collect();
    drop(first);
    let stages: Vec<_> = (0..3)
        .map(|_| {
            let (middle, second) = (middle.clone(), second.clone());
            thread::spawn(move || {
                for (id, mut body) in middle {
                    body.extend_from_slice(b"seen");
                    let text = String::from_utf8(body).expect("letters");
                    second.send((id, text)).expect("the reader listens");
                }
            })
        })
        .collect();
    drop((middle, second));
    for worker in makers.into_iter().chain(stages) {
        worker.join().expect("no thread panics");
    }
    // Every thread that made a message has ended by now.
    let mut messages: Vec<(u64, String)> = last.into_iter().collect();
    messages.sort_unstable();
    let bytes: usize = messages.iter().map(|(_, text)| text.len()).sum();
    let joined: String = messages.iter().map(|(id, t)| format!("{id}{t}")).collect();

    let mut survivors = Vec::new();
    for wave in 0..150_u64 {
        let threads: Vec<_> = (0..6_u64)
            .map(|k| {
                thread::spawn(move || {
                    let mut numbers = Numbers::new(wave * 6 + k);
                    (0..100).map(|_| numbers.word(200)).collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            let mut words = thread.join().expect("no thread panics");
            words.retain(|word| word.len() % 3 == 0);
            survivors.append(&mut words);
        }
    }
    format!(
        "messages {} bytes {bytes} {:016x}\nsurvivors {} {:016x}",
        messages.len(),
        digest(joined.as_bytes()),
        survivors.len(),
        digest(survivors.concat().as_bytes())
    )
}
