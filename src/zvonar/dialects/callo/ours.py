"""Which of the words that a Callo client reads are our own, because no source gives them? All of them, and only those.

Whoever learns the original's words changes them here; nothing else knows them.
"""

from collections.abc import Mapping

from zvonar.dialects.callo.words import Text

# Errors of a form; the field that each belongs to stands beside it.
UNKNOWN_KEY = Text(
    en="Invalid public key.", ru="Неверный публичный ключ.", uk="Невірний публічний ключ."
)  # public_key
NO_BALANCE = Text(
    en="Insufficient balance.", ru="Недостаточно средств на балансе.", uk="Недостатньо коштів на балансі."
)  # public_key
BAD_PHONE = Text(
    en="Enter a valid phone number.",
    ru="Введите правильный номер телефона.",
    uk="Введіть коректний номер телефону.",
)  # phone, phones
CLOSED_CAMPAIGN = Text(
    en="The campaign is finished.", ru="Кампания завершена.", uk="Кампанію завершено."
)  # campaign_id
BUSY_CAMPAIGN = Text(
    en="The campaign is being changed, try again.",
    ru="Кампания изменяется, повторите запрос.",
    uk="Кампанія змінюється, повторіть запит.",
)  # campaign_id
LABEL_TAKEN = Text(
    en="A call with this label already exists in the campaign.",
    ru="Звонок с такой меткой уже есть в кампании.",
    uk="Дзвінок з такою міткою вже є в кампанії.",
)  # label
NO_SUCH_NUMBER = Text(
    en="No caller ID ends with this code.",
    ru="Нет исходящего номера с таким окончанием.",
    uk="Немає вихідного номера з таким закінченням.",
)  # phone_suffix
NO_CALLER_IDS = Text(
    en="The campaign has no caller IDs.",
    ru="У кампании нет исходящих номеров.",
    uk="У кампанії немає вихідних номерів.",
)  # campaign_id
NOT_UTF8 = Text(
    en="Enter text in UTF-8.", ru="Введите текст в UTF-8.", uk="Введіть текст у UTF-8."
)  # any field
UNREADABLE = Text(
    en="The form could not be read.", ru="Не удалось прочитать форму.", uk="Не вдалося прочитати форму."
)  # __all__
TOO_LARGE = Text(en="The form is too large.", ru="Форма слишком велика.", uk="Форма завелика.")  # __all__

NO_SUCH_REACTION = Text(
    en="The campaign has no reaction to this button or word.",
    ru="В кампании нет реакции на эту кнопку или слово.",
    uk="У кампанії немає реакції на цю кнопку чи слово.",
)  # ivr_lvl_…
SEVERAL_WORDS = Text(
    en="Only one word is allowed for a reaction.",
    ru="Для реакции допускается только одно слово.",
    uk="Для реакції дозволено лише одне слово.",
)  # ivr_lvl_…
UNKNOWN_CLIP = Text(
    en="There is no such audio clip.", ru="Такого аудиоролика нет.", uk="Такого аудіоролика немає."
)  # text, ivr_lvl_…_audioclip_text


def bad_markup(detail: str) -> Text:
    """What is wrong with a text's markup. `detail`: a sentence in English, for whoever wrote the markup."""
    return Text(
        en=f"Enter a valid text: {detail}",
        ru=f"Введите правильный текст: {detail}",
        uk=f"Введіть правильний текст: {detail}",
    )


# Why a recording is no clip, by the reason of `zvonar.speech.formats`; clip_file.
CLIP_REJECTED: Mapping[str, Text] = {
    "empty": Text(en="The file holds no sound.", ru="В файле нет звука.", uk="У файлі немає звуку."),
    "too_large": Text(
        en="The file is larger than 32 MB: save it as MP3, or cut it.",
        ru="Файл больше 32 МБ: сохраните его как MP3 или сократите.",
        uk="Файл більший за 32 МБ: збережіть його як MP3 або скоротіть.",
    ),
    "format": Text(
        en="The file is not audio that can be played: save it as WAV, MP3, OGG or FLAC, mono or stereo.",
        ru="Файл не является аудио, которое читает сервис: сохраните его как WAV, MP3, OGG или FLAC, моно или стерео.",
        uk="Файл не є аудіо, яке читає сервіс: збережіть його як WAV, MP3, OGG або FLAC, моно чи стерео.",
    ),
    "broken": Text(
        en="The audio file is damaged: export it again from the original recording.",
        ru="Аудиофайл повреждён: экспортируйте его заново из исходной записи.",
        uk="Аудіофайл пошкоджено: експортуйте його знову з початкового запису.",
    ),
    "too_short": Text(
        en="The recording is shorter than 0.1 seconds.",
        ru="Запись короче 0,1 секунды.",
        uk="Запис коротший за 0,1 секунди.",
    ),
    "too_long": Text(
        en="The recording is longer than 30 minutes.",
        ru="Запись длиннее 30 минут.",
        uk="Запис довший за 30 хвилин.",
    ),
    "too_costly": Text(
        en="The audio file takes too long to decode: save it as WAV or MP3, mono, at 8 to 48 kHz.",
        ru="Аудиофайл слишком долго декодируется: сохраните его как WAV или MP3, моно, от 8 до 48 кГц.",
        uk="Аудіофайл надто довго декодується: збережіть його як WAV або MP3, моно, від 8 до 48 кГц.",
    ),
}
CLIP_UNSPOKEN = Text(
    en="The text of this clip cannot be spoken.",
    ru="Текст этого ролика нельзя произнести.",
    uk="Текст цього ролика неможливо вимовити.",
)  # audioclip_id
NOT_A_LIST = Text(
    en="Upload a text, CSV, XLSX or XLS file with a phone number in each row.",
    ru="Загрузите текст, CSV, XLSX или XLS с номером телефона в каждой строке.",
    uk="Завантажте текст, CSV, XLSX або XLS з номером телефону в кожному рядку.",
)  # phones, phones_file
LIST_TOO_LARGE = Text(
    en="The list is too large.", ru="Список слишком велик.", uk="Список завеликий."
)  # phones, phones_file
NO_NUMBERS = Text(
    en="The list has no phone number that can be called.",
    ru="В списке нет номеров, на которые можно позвонить.",
    uk="У списку немає номерів, на які можна подзвонити.",
)  # phones, phones_file
NO_COLUMN = Text(
    en="The list has no such column.", ru="В списке нет такого столбца.", uk="У списку немає такого стовпця."
)  # text_from_column, label_from_column


def both(one: str, many: str) -> Text:
    """The singular and the plural parameter at the same time; __all__."""
    return Text(
        en=f"Send either {one} or {many}.",
        ru=f"Передайте либо {one}, либо {many}.",
        uk=f"Передайте або {one}, або {many}.",
    )


def too_many(limit: int) -> Text:
    """More ids than one request may ask for."""
    return Text(
        en=f"Send at most {limit} values.",
        ru=f"Передайте не более {limit} значений.",
        uk=f"Передайте не більше {limit} значень.",
    )


def bad_label(word: str) -> str:
    """As the reference speaks of calls and numbers that it does not find."""
    return f"Call by label={word} dnot found"


def bad_clip(clip_id: int) -> str:
    """As the reference speaks of a campaign that it does not find."""
    return f"Audioclip by id={clip_id} don't found"


def no_phone_list(phone_list_id: int) -> str:
    """After the reference's words for campaigns."""
    return f"Phonelist by id={phone_list_id} don't found"


def completed(call_id: int) -> str:
    """Of a call that cannot be removed any more."""
    return f"Call by ats_call_id={call_id} is already completed"


def all_completed(phone: str) -> str:
    """Of a number whose calls cannot be removed any more."""
    return f"Calls by val={phone} are already completed"


# Errors without a form.
UNAVAILABLE = Text(
    en="The service is temporarily unavailable.",
    ru="Сервис временно недоступен.",
    uk="Сервіс тимчасово недоступний.",
)
TOO_OFTEN_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>429 Too Many Requests</title></head>"
    "<body><h1>429 Too Many Requests</h1></body></html>\n"
)

# A pressed key in results; in statistics the sample says "One" of the key 1.
BUTTON = Text(en="Button {}", ru="Кнопка {}", uk="Кнопка {}")
DIGITS = Text(
    en="Zero One Two Three Four Five Six Seven Eight Nine",
    ru="Ноль Один Два Три Четыре Пять Шесть Семь Восемь Девять",
    uk="Нуль Один Два Три Чотири П’ять Шість Сім Вісім Дев’ять",
)
TOTAL = Text(en="Total", ru="Всего", uk="Усього")  # English is the sample's

# Displays: the sources have them in Russian, and a few in English.
Displays = Mapping[str, Mapping[str, str]]
CALL_STATUS: Displays = {
    "in_process": {"en": "In process", "uk": "В процесі"},
    "attempts_exc": {"uk": "Спроби закінчилися"},
    "compl_finished": {"uk": "Завершено успішно"},
    "compl_nofinished": {"en": "Incorrect answer", "uk": "Некоректна відповідь"},
    "deleted": {"en": "Removed from the campaign", "uk": "Видалено з обдзвону"},
    "duration_error": {
        "en": "Incorrect maximum call duration",
        "uk": "Некоректна максимальна тривалість дзвінка",
    },
    "expires": {"en": "Call lifetime expired", "uk": "Вийшов час життя дзвінка"},
    "novalid_button": {"en": "Invalid button", "uk": "Невалідна кнопка"},
    "no_provider": {"en": "No suitable provider", "uk": "Немає відповідного провайдера"},
    "interrupted": {"en": "Interrupted by settings", "uk": "Перервано за налаштуваннями"},
    "pincode_ok": {"en": "PIN code is correct", "uk": "Пінкод правильний"},
    "pincode_nook": {"en": "PIN code is incorrect", "uk": "Пінкод неправильний"},
    "synth_error": {"en": "Clip synthesis error", "uk": "Помилка генерації ролика"},
    "user": {"uk": "Користувацьке IVR"},
}

DIAL_STATUS: Displays = {
    "0": {"en": "Waiting for the call (no call yet)", "uk": "Очікування виклику (дзвінка ще немає)"},
    "1": {"en": "Error while calling the subscriber", "uk": "Помилка під час виклику абонента"},
    "2": {"en": "The subscriber rejected the call", "uk": "Абонент скинув дзвінок"},
    "3": {"en": "No answer", "uk": "Не додзвонилися"},
    "4": {"uk": "Абонент зайнятий"},
    "5": {"uk": "Абонент відповів"},
    "6": {"en": "An answering machine answered", "uk": "Відповів автовідповідач"},
    "8": {"en": "Invalid button", "uk": "Невалідна кнопка"},
    "10": {"uk": "Завершено без дії клієнта"},
    "11": {"en": "User stop list", "uk": "Користувацький стоп-лист"},
    "12": {"en": "Global stop list", "uk": "Глобальний стоп-лист"},
    "13": {
        "en": "The subscriber answered, but the conversation was too short to count",
        "uk": "Абонент відповів, але тривалості розмови недостатньо для фіксації результату у статистиці",
    },
    "14": {
        "en": "The subscriber's number equals the caller ID",
        "uk": "Номер абонента збігається з CallerID",
    },
    "15": {"en": "The number was removed from the campaign", "uk": "Номер видалено з обдзвону"},
    "16": {"uk": "Дія без натискання"},
    "17": {"en": "By maximum call duration", "uk": "За максимальною тривалістю дзвінка"},
    "18": {"en": "Internal server error", "uk": "Внутрішня помилка сервера"},
    "19": {"en": "Listened to the clip and pressed no button", "uk": "Прослухав ролик і не натиснув кнопку"},
    "20": {"en": "Internal menu error", "uk": "Внутрішня помилка в меню"},
    "21": {
        "en": "Event by button and conversation duration",
        "uk": "Подія за натисканням кнопки і тривалістю розмови",
    },
    "22": {"en": "Event by conversation duration", "uk": "Подія за тривалістю розмови"},
    "23": {
        "en": "Attempt suspended because of a negative balance",
        "uk": "Спробу призупинено через від'ємний баланс",
    },
    "24": {"en": "No trunk found for the call", "uk": "Не знайдено транк для дзвінка"},
    "25": {"en": "No outgoing number found for the call", "uk": "Не знайдено вихідний номер для дзвінка"},
    "26": {"en": "This destination is blocked", "uk": "Цей напрямок заблоковано"},
    "27": {"en": "Clip synthesis error", "uk": "Помилка генерації ролика"},
    "28": {"en": "The clip is too short", "uk": "Занадто короткий ролик"},
    "29": {"en": "No provider found for the call", "uk": "Не знайдено провайдера для дзвінка"},
    "30": {"en": "Call lifetime expired", "uk": "Вийшов час життя дзвінка"},
    "31": {"en": "Attempts ended", "uk": "Спроби закінчилися"},
    "35": {"en": "Duplicate call", "uk": "Дубльований дзвінок"},
}
