"""Generates chat-style datapoints from a seed: six languages, nested JSON, 1.1 KB a row on average.

The rows of a chunk depend only on the seed and the chunk number. So a short dataset is a prefix of a longer
one, and several processes can generate chunks in parallel.
"""

import random
import uuid

import numpy

SEED = 20260101
ROWS_PER_CHUNK = 2000
VOCABULARY_WORDS = 5600
# Words to draw for each row of a chunk, on average. When a chunk has used all its words, text() reuses them.
WORDS_PER_ROW = 150

ONSETS = "b br c ch d dr f fl g gr h k l m n p pl pr qu r s sh st t th tr v w z".split()
NUCLEI = "a e i o u ai ea ee io ou".split()
CODAS = ["", "", "n", "r", "s", "t", "l", "ng", "st", "nd", "ck", "m"]
COMMON_WORDS = (
    "the of and to a in is that for it you with as on not please user order refund account because I we can your "
    "what how when which customer policy answer return JSON model data value error check"
).split()
OTHER_LANGUAGES = (
    "größe straße über für café déjà naïve señor año niño добрый день заказ возврат спасибо клиент 注文 返品 お願いします "
    "你好 订单 退款 谢谢 السلام طلب שלום हिन्दी 안녕하세요 주문 €12 £30 ½ → ✓ 😀 🚀 🙏 👩‍💻 „Zitat“ —"
).split()
PERSONAS = [
    "frustrated customer", "new developer", "power user", "data analyst", "non-native speaker", "support agent",
    "Führungskraft", "学生", "compliance officer", "first-time buyer",
]
TAGS = [
    "billing", "refund", "edge-case", "multilingual", "safety", "tool-use", "long-context", "regression", "v2", "golden",
    "synthetic", "hard", "pii", "german", "日本語",
]
LOCALES = ["en-US", "de-DE", "ja-JP", "ru-RU", "es-MX", "ar-EG"]
TOOLS = ["lookup_order", "search_docs", "create_refund", "get_weather"]
SYSTEM_MESSAGE = {
    "role": "system",
    "content": "You are a helpful assistant for ACME GmbH. Answer in the language of the user.",
}


def make_vocabulary():
    """Return invented words of one to four syllables, with real words of many languages among the frequent ones."""
    rng = random.Random(SEED)
    words = list(COMMON_WORDS)
    known = set(words)
    while len(words) < VOCABULARY_WORDS:
        syllables = rng.choice([1, 2, 2, 2, 3, 3, 4])
        word = "".join(rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(syllables))
        if word not in known:
            known.add(word)
            words.append(word)
    for index, word in enumerate(OTHER_LANGUAGES):
        words.insert(120 + index * 45, word)
    return numpy.array(words, dtype=object)


VOCABULARY = make_vocabulary()
# Zipf's law: the n-th word is about n times rarer than the first.
FREQUENCIES = 1.0 / numpy.arange(2, len(VOCABULARY) + 2) ** 0.95
CUMULATIVE = numpy.cumsum(FREQUENCIES / FREQUENCIES.sum())


class Chunk:
    """The random state of one chunk. The order of the draws determines the data: do not reorder the draws."""

    def __init__(self, number):
        self.number = number
        self.numpy_rng = numpy.random.default_rng([SEED, number])
        self.rng = random.Random(SEED * 1000003 + number)
        draws = self.numpy_rng.random(ROWS_PER_CHUNK * WORDS_PER_ROW)
        indices = numpy.searchsorted(CUMULATIVE, draws, side="right").clip(0, len(VOCABULARY) - 1)
        self.words = VOCABULARY[indices].tolist()
        self.position = 0

    def rows(self):
        ids = self.numpy_rng.bytes(16 * ROWS_PER_CHUNK)
        lengths = self.numpy_rng.lognormal(3.72, 0.68, ROWS_PER_CHUNK)
        lengths = numpy.clip(lengths, 10, 330).astype(int).tolist()
        rows = []
        for index, words in enumerate(lengths):
            row_id = str(uuid.UUID(bytes=ids[16 * index : 16 * index + 16], version=4))
            rows.append(self.row(row_id, self.number * ROWS_PER_CHUNK + index, words))
        return rows

    def row(self, row_id, order, words):
        rng = self.rng
        messages = self.messages(words)
        given = {"messages": messages}
        if rng.random() < 0.5:
            given["temperature"] = round(rng.random(), 2)
        if rng.random() < 0.5:
            given["max_tokens"] = rng.choice([256, 512, 1024, None])
        if rng.random() < 0.45:
            given["context"] = self.context()
        expected = self.expected_output(words)
        row = {
            "id": row_id,
            "order": order if rng.random() < 0.98 else None,
            "input": given,
            "expected_output": expected,
            "persona": rng.choice(PERSONAS) if rng.random() < 0.7 else None,
        }
        kind = rng.random()
        if kind < 0.6:
            row["tags"] = rng.sample(TAGS, rng.randrange(0, 5))
        elif kind < 0.7:
            row["tags"] = {"split": rng.choice(["train", "test"]), "difficulty": rng.randrange(1, 6)}
        elif kind < 0.98:
            row["tags"] = None
        # Otherwise the field is missing, because the API may omit it too.
        if rng.random() < 0.01:
            del row["persona"]
        return row

    def text(self, words):
        if self.position + words > len(self.words):
            self.position = 0
        chosen = self.words[self.position : self.position + words]
        self.position += words
        text = " ".join(chosen)
        kind = self.rng.random()
        if kind < 0.25:
            return text.capitalize() + "."
        if kind < 0.32:
            return text + '\n\n- "' + chosen[0] + '"\n- ' + chosen[-1]
        if kind < 0.36:
            return text + '\n```python\nprint("x\\n")\n```\t'
        return text

    def messages(self, words):
        rng = self.rng
        messages = [SYSTEM_MESSAGE] if rng.random() < 0.7 else []
        turns = rng.choice([1, 1, 1, 2, 3])
        words_per_turn = max(4, words // turns)
        for turn in range(turns):
            is_user = turn % 2 == 0
            message = {"role": "user" if is_user else "assistant", "content": self.text(words_per_turn)}
            if not is_user and rng.random() < 0.4:
                call_id = f"call_{rng.getrandbits(32):08x}"
                name = rng.choice(TOOLS)
                function = {"name": name, "arguments": f'{{"order_id": "{rng.randrange(10**8)}"}}'}
                message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
            messages.append(message)
        return messages

    def context(self):
        rng = self.rng
        return {
            "locale": rng.choice(LOCALES),
            "documents": [
                {
                    "doc_id": rng.randrange(10**6),
                    "score": rng.random(),
                    "title": self.text(4),
                    "span": [rng.randrange(1000), rng.randrange(1000, 3000)],
                }
                for _ in range(rng.choice([1, 2, 3]))
            ],
            "session": None,
        }

    def expected_output(self, words):
        """Return a text, an object, an array, a number or null."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            return self.text(max(3, words // 2))
        if kind < 0.85:
            return {
                "answer": self.text(max(3, words // 2)),
                "citations": [rng.randrange(40) for _ in range(rng.randrange(5))],
                "confidence": rng.random(),
                "refused": rng.random() < 0.1,
                "reason": None,
            }
        if kind < 0.92:
            return [self.text(4) for _ in range(3)]
        if kind < 0.95:
            return rng.randrange(100)
        return None


# The table `diff` compares a dataset with a second version. In each 100 rows, the second version removes one,
# changes two and adds one.
ROWS_PER_CHANGE = 100
REMOVED_REMAINDER = 17
CHANGED_REMAINDERS = {3: "input", 53: "tags"}
ADDED_REMAINDER = 42
# Added rows come from chunk numbers that are too high for any first version.
FIRST_ADDED_CHUNK = 1_000_000


def first_version(chunk_number):
    return Chunk(chunk_number).rows()


def second_version(chunk_number, wanted):
    """Return version 2 of the first `wanted` rows of a chunk, and the counts of added, removed and changed rows."""
    rows = []
    counts = {"added": 0, "removed": 0, "changed": 0}
    added = Chunk(FIRST_ADDED_CHUNK + chunk_number).rows()
    for index, row in enumerate(Chunk(chunk_number).rows()[:wanted]):
        remainder = index % ROWS_PER_CHANGE
        if remainder == REMOVED_REMAINDER:
            counts["removed"] += 1
            continue
        column = CHANGED_REMAINDERS.get(remainder)
        if column == "input":
            row["input"]["temperature"] = 2.5  # at most 1 in the first version
            counts["changed"] += 1
        elif column == "tags":
            row["tags"] = ["second-version"]
            counts["changed"] += 1
        rows.append(row)
        if remainder == ADDED_REMAINDER:
            new = added[index]
            new["order"] = row["order"]
            rows.append(new)
            counts["added"] += 1
    return rows, counts


def uniform_version(chunk_number):
    """Return the rows of a chunk in which each node has one type: every expected output is an object, all tags are lists."""
    rows = first_version(chunk_number)
    for row in rows:
        expected = row["expected_output"]
        if not isinstance(expected, dict):
            texts = expected if isinstance(expected, list) else [expected]
            row["expected_output"] = {"answer": "; ".join(map(str, texts)), "refused": False}
        if not isinstance(row.get("tags"), list):
            row["tags"] = None
    return rows
