// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

"use strict";

const notice = document.getElementById("notice");
const words = {
	wrong: "A wrong code was tried.",
	failed: "The POS was not connected. Here is another code.",
	renewed: "A POS has renewed its certificate.",
};
let ends = 0;
let turn = 0;

// restart notes when the code that is shown ends, by this page's own clock.
function restart() {
	const timer = document.getElementById("timer");
	ends = timer ? performance.now() + Number(timer.dataset.left) * 1000 : 0;
	tick();
}

function tick() {
	const clock = document.getElementById("clock");
	const ring = document.querySelector("#timer .ring");
	if (!ends || !clock || !ring) {
		return;
	}
	const left = Math.max(0, Math.round((ends - performance.now()) / 1000));
	clock.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
	ring.setAttribute("stroke-dasharray", left + " 300");
}

// show replaces what has changed, and keeps the focus and what is open. Of two
// that overlap, the later one counts.
async function show() {
	const mine = ++turn;
	const answer = await fetch("/panel", { cache: "no-store" });
	const text = await answer.text();
	if (!answer.ok || mine !== turn) {
		return;
	}
	const fresh = new DOMParser().parseFromString(text, "text/html");
	const open = [...document.querySelectorAll("details[open]")].map((d) => d.id);
	const focus = document.activeElement;
	const held = focus !== null && focus.closest("#stage, #paired") !== null;
	for (const id of ["stage", "paired"]) {
		document.getElementById(id).replaceWith(fresh.getElementById(id));
	}
	for (const id of open) {
		const d = document.getElementById(id);
		if (d) {
			d.open = true;
		}
	}
	if (held) {
		(document.getElementById(focus.id) || document.querySelector("#stage button")).focus();
	}
	restart();
}

// A tap is sent without leaving the page.
document.addEventListener("submit", async (event) => {
	event.preventDefault();
	const form = event.target;
	const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" });
	notice.textContent = "";
	if (answer.type !== "opaqueredirect" && !answer.ok) {
		notice.textContent = await answer.text();
	}
	await show();
});

const events = new EventSource("/events");
events.onmessage = (event) => {
	const what = JSON.parse(event.data);
	if (what.kind !== "code" || words.failed !== notice.textContent) {
		notice.textContent = words[what.kind] || "";
	}
	show();
};

restart();
setInterval(tick, 250);
