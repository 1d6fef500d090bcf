"""Renders chat templates with Jinja itself, with the settings of transformers; writes templates.json, which the tests read.

    python3 make-templates.py        (needs jinja2; templates.json was made with 3.1.6)
"""
import json
import os

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURNS = [
    {"role": "user", "content": "Hello, who are you?"},
    {"role": "assistant", "content": " I am a model.\n"},
    {"role": "user", "content": "  Count to <3> & \"go\".  "},
]
SYSTEM = [{"role": "system", "content": "Be brief."}]
CONVERSATIONS = {
    "one": TURNS[:1], "three": TURNS, "system": SYSTEM + TURNS, "only system": SYSTEM, "empty": [],
    "wrong order": TURNS[1:], "unicode": [{"role": "user", "content": "Größe 😀?\tя"}],
}

TEMPLATES = {
    # One tag a line, as model folders have them: blanks and line breaks of the tags must vanish.
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "chatml": """{%- for message in messages -%}
    {%- if loop.first and messages[0].role != 'system' -%}
        {{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif -%}
    {{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>' ~ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\\n" }}{%- endif -%}""",
    "llama 2": """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}
{% for message in rest %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate user/assistant/...') }}
    {% endif %}
    {% if loop.index0 == 0 and system != false %}
        {% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}{% set content = message['content'] %}{% endif %}
    {% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{% endfor %}""",
    "llama 3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "gemma": """{{ bos_token }}{% if messages and messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}{{ '<start_of_turn>' + role + '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}""",
    "namespace": """{% set ns = namespace(found=false, last='none', n=0) %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + 1 %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.last = m.content | length %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.last }} {{ ns.n }} {{ undefined_thing }}.""",
    "break": """{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}[{{ loop.index }}/{{ loop.length }} {{ loop.revindex }} {{ loop.first }} {{ loop.last }}]{% endfor %}""",
    "expressions": """{{ 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 2 - 1 - 1 }} {{ 1.5 + 1 }} {{ 'a' in 'bad' }} {{ 'x' not in ['x', 'y'] }} {{ not true or true and false }} {{ none is none }} {{ none }}
{{ messages[-1].content[2:7] if messages else 'nobody' }}|{{ 'ab cd'.title() }} {{ 'A-b'.lower() | upper }} {{ ' x '.strip() ~ 3 }} {{ 'a,b,c'.split(',')[1] }} {{ ['a', 'b'] | join('+') }} {{ {'k': 'v'}.k }} {{ {'k': 1}['k'] }} {{ 'abc' | first }}{{ 'abc' | last }} {{ '' or 'default' }} {{ missing | default('given') }}
{{ bos_token is defined }} {{ nothing is defined }} {{ messages is string }} {{ 3 is number and 'x' is string }} {{ 'b' > 'a' and 2 <= 2 }} {{ 'aXb'.replace('X', '-') }} {{ 'abc'.startswith('ab') }} {{ [1, 2] == [1, 2] }} {{ 'a' 'b' }} {{ 1 == true }} {{ 'x' * 1 if false }}|{{ messages | length > 1 }}""",
    "json": """{{ messages | tojson }}{% for key, value in {'a': 1, 'b': 'é'}.items() %}<{{ key }}={{ value }}>{% endfor %}""",
    "blanks": """  {# a comment
  of two lines #}
  {%- if true %}   kept
    {% if true +%}
  kept too
    {%+ endif %}
{% endif -%}

   end  {{- ' x' -}}   y
  {{ 'z' }}  {# c #}
{% for i in range(3) %}
  {{ i }}
{% endfor %}

""",
}


def main():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)

    def refuse(message):
        raise ValueError("refused: " + message)

    environment.globals["raise_exception"] = refuse
    cases = []
    for name, source in TEMPLATES.items():
        template = environment.from_string(source)
        for conversation, messages in CONVERSATIONS.items():
            for prompt in (True, False):
                try:
                    text, error = template.render(messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>"), None
                except Exception as e:
                    text, error = None, str(e)
                cases.append({"template": name, "conversation": conversation, "add_generation_prompt": prompt, "text": text, "error": error})
    with open(os.path.join(os.path.dirname(__file__), "templates.json"), "w", encoding="utf-8") as file:
        json.dump({"templates": TEMPLATES, "conversations": CONVERSATIONS, "cases": cases}, file, ensure_ascii=False, indent=1)
        file.write("\n")


main()
