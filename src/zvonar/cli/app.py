"""Which commands are there? The one list of them."""

import typer

from zvonar.cli import (
    accounts,
    amocrm,
    campaigns,
    control,
    crm,
    deliveries,
    demo,
    directories,
    home,
    imports,
    keys,
    numbers,
    phone_lists,
    serve,
    stop_list,
    tag_rules,
    tariffs,
    trunks,
)

app = typer.Typer(
    name="zvonar",
    help="A self-hosted outbound-calling platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("setup")(home.setup)
app.command("doctor")(home.doctor)
app.command("stop")(home.stop)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(amocrm.commands, name="amocrm", help="The CRM that an account has here.")
app.add_typer(accounts.commands, name="account", help="Tenants and their keys.")
campaigns.commands.command("import")(imports.import_)
campaigns.commands.command("preflight")(control.preflight_)
campaigns.commands.command("show")(control.show_)
campaigns.commands.command("cancel")(control.cancel)
campaigns.commands.command("approve")(control.approve)
campaigns.commands.command("reject")(control.reject)
app.add_typer(campaigns.commands, name="campaign", help="What to say, to whom, when.")
app.add_typer(crm.commands, name="crm", help="Calls in a company's own amoCRM.")
app.add_typer(deliveries.commands, name="deliveries", help="What was told to whom, and what was not.")
app.add_typer(directories.commands, name="directory", help="Whom and what reports name.")
app.add_typer(keys.commands, name="key", help="Keys for reports, and from where they may be used.")
app.add_typer(numbers.commands, name="number", help="Numbers on which accounts are called.")
app.add_typer(phone_lists.commands, name="phone-list", help="Lists of numbers that were sent.")
app.add_typer(stop_list.commands, name="stop-list", help="Numbers that nobody calls.")
app.add_typer(tag_rules.commands, name="tag-rule", help="Tags that sessions get by themselves.")
app.add_typer(tariffs.commands, name="tariff", help="What calls cost.")
app.add_typer(trunks.commands, name="trunk", help="SIP routes.")
app.add_typer(trunks.town, name="town", help="The trial phone network.")
